#include "base/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/os_cpu.h"
#include "base/sha256_blocks.h"

namespace kvi {
namespace {

uint32_t load_be32(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

}  // namespace

void sha256_blocks_plain(uint32_t* state, const uint8_t* blocks, size_t num_blocks) {
  for (; num_blocks > 0; --num_blocks, blocks += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i) w[i] = load_be32(blocks + 4 * i);
    for (int i = 16; i < 64; ++i) {
      uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; ++i) {
      uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kSha256Round[i] + w[i];
      uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t sums[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += sums[i];
  }
}

Sha256::Sha256(Sha256Code code) : compress_(sha256_blocks_plain) {
#if defined(__x86_64__)
  if (code == Sha256Code::fastest && cpu_has_sha()) compress_ = sha256_blocks_sha_ni;
#else
  static_cast<void>(code);  // there is one only
#endif
}

void Sha256::update(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const uint8_t* p = reinterpret_cast<const uint8_t*>(bytes.data());
  size_t left = bytes.size();
  const size_t fill = num_bytes_ % 64;
  num_bytes_ += left;
  if (fill > 0) {
    const size_t n = std::min(left, 64 - fill);
    std::memcpy(block_.data() + fill, p, n);
    p += n, left -= n;
    if (fill + n < 64) return;
    compress_(state_.data(), block_.data(), 1);
  }
  const size_t num_blocks = left / 64;
  if (num_blocks > 0) compress_(state_.data(), p, num_blocks);
  if (left % 64 > 0) std::memcpy(block_.data(), p + 64 * num_blocks, left % 64);
}

Digest Sha256::finish() {
  uint64_t num_bits = num_bytes_ * 8;
  size_t fill = num_bytes_ % 64;
  block_[fill++] = 0x80;
  if (fill > 56) {
    std::memset(block_.data() + fill, 0, 64 - fill);
    compress_(state_.data(), block_.data(), 1);
    fill = 0;
  }
  std::memset(block_.data() + fill, 0, 56 - fill);
  for (int i = 0; i < 8; ++i) block_[56 + i] = static_cast<uint8_t>(num_bits >> (56 - 8 * i));
  compress_(state_.data(), block_.data(), 1);
  Digest digest;
  for (int i = 0; i < 32; ++i)
    digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

std::string to_hex(std::span<const uint8_t> bytes) {
  static const char kDigits[] = "0123456789abcdef";
  std::string out;
  for (uint8_t b : bytes) {
    out += kDigits[b >> 4];
    out += kDigits[b & 15];
  }
  return out;
}

}  // namespace kvi
