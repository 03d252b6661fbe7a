#include "backend/cuda/pinned_range.h"

namespace kvi::cuda {

PinnedRange::PinnedRange(std::shared_ptr<const Device> device, uint64_t num_bytes)
    : device_(std::move(device)), memory_(reserve_host_memory(num_bytes)) {}

PinnedRange::~PinnedRange() {
  for (uint64_t piece = 0; piece < pieces_.size(); ++piece) unpin(piece);
}

bool PinnedRange::commit(uint64_t offset, uint64_t num_bytes) {
  if (num_bytes == 0) return true;
  const uint64_t last = (offset + num_bytes - 1) / kPiece;
  if (last >= pieces_.size()) pieces_.resize(last + 1, State::absent);
  for (uint64_t piece = offset / kPiece; piece <= last; ++piece) {
    if (pieces_[piece] != State::absent) continue;
    if (!memory_->commit(piece * kPiece, bytes_of(piece))) return false;
    pieces_[piece] = State::pageable;
    const CurrentContext current(*device_, CurrentContext::ForRelease());
    if (device_->api().mem_host_register(address() + piece * kPiece, bytes_of(piece),
                                         CU_MEMHOSTREGISTER_PORTABLE) == CUDA_SUCCESS) {
      pieces_[piece] = State::pinned;
    }
  }
  return true;
}

void PinnedRange::decommit(uint64_t offset, uint64_t num_bytes) {
  const uint64_t end = offset + num_bytes;
  const uint64_t end_piece = end == size_bytes() ? pieces_.size() : end / kPiece;
  for (uint64_t piece = (offset + kPiece - 1) / kPiece;
       piece < std::min<uint64_t>(end_piece, pieces_.size()); ++piece) {
    if (pieces_[piece] == State::absent) continue;
    unpin(piece);
    memory_->decommit(piece * kPiece, bytes_of(piece));
    pieces_[piece] = State::absent;
  }
}

void PinnedRange::unpin(uint64_t piece) noexcept {
  if (pieces_[piece] != State::pinned) return;
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().mem_host_unregister(address() + piece * kPiece);
  pieces_[piece] = State::pageable;
}

}  // namespace kvi::cuda
