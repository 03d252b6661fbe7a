#include "engine/session_snapshot.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "engine/engine_core.h"
#include "engine/snapshot_file.h"

namespace kvi {
namespace {

// Pages that no session holds, given back at the end of the scope.
class HeldPages {
 public:
  explicit HeldPages(EngineCore& core) : core_(core) { core_.count_held(1); }
  ~HeldPages() {
    core_.release_pages(pages);
    core_.count_held(-1);
  }
  HeldPages(const HeldPages&) = delete;
  HeldPages& operator=(const HeldPages&) = delete;

  SequencePages pages;

 private:
  EngineCore& core_;
};

std::vector<SnapshotGroup> canonical_groups(const EngineCore& core) {
  std::vector<SnapshotGroup> groups;
  for (const LayerGroup& group : core.layer_groups()) {
    groups.push_back({group.window, canonical_layout(group.layout)});
  }
  return groups;
}

std::vector<std::byte> page_buffer(const std::vector<SnapshotGroup>& groups) {
  uint64_t most = 0;
  for (const SnapshotGroup& group : groups) most = std::max(most, group.layout.page_bytes);
  return std::vector<std::byte>(most);
}

// Of a page's slots, those that hold positions below kv_len.
int num_slots(int page_len, int64_t index, int64_t kv_len) {
  return static_cast<int>(std::min<int64_t>(page_len, kv_len - index * page_len));
}

// Going back behind a window loses pages of the window before it, and with them the use of all others.
bool holds_all(const SequencePages& pages, const SnapshotHeader& header) {
  for (SnapshotOrder order(header); order.page(); order.advance()) {
    const auto [group, index, num_bytes] = *order.page();
    if (pages.tables[group].at(static_cast<size_t>(index)) == kNoPage) return false;
  }
  return true;
}

SnapshotTarget target_of(const EngineCore& core, ForeignNumerics foreign_numerics) {
  return {.model_fingerprint = core.model().fingerprint(),
          .numerics_id = core.numerics(),
          .page_len = core.layer_groups()[0].layout.page_len,
          .groups = canonical_groups(core),
          .max_tokens = core.max_model_len(),
          .vocab_size = core.model().config().vocab_size,
          .foreign_numerics = foreign_numerics};
}

}  // namespace

void save_sequence(EngineCore& core, const SequenceState& sequence, SnapshotSink sink) {
  HeldPages pin(core);
  core.pin_pages(sequence, pin.pages);
  SnapshotHeader header = {.model_fingerprint = core.model().fingerprint(),
                           .model_name = core.model().name(),
                           .numerics_id = core.numerics(),
                           .library_version = KVINFER_VERSION,
                           .page_len = core.layer_groups()[0].layout.page_len,
                           .num_tokens = std::ssize(sequence.tokens),
                           .kv_len = pin.pages.num_tokens,
                           .groups = canonical_groups(core)};
  if (!holds_all(pin.pages, header)) header.kv_len = 0;
  SnapshotWriter writer(std::move(sink), header, sequence.tokens);
  std::vector<std::byte> buffer = page_buffer(header.groups);
  while (const std::optional<SnapshotPage> page = writer.next()) {
    const std::span<std::byte> bytes = std::span(buffer).first(page->num_bytes);
    const PageId id = pin.pages.tables[page->group][static_cast<size_t>(page->index)];
    core.model().backend().export_page(
        core.page_layout(page->group), core.page_address(page->group, id),
        header.groups[static_cast<size_t>(page->group)].layout, bytes,
        num_slots(header.page_len, page->index, header.kv_len));
    writer.write_page(bytes);
  }
}

std::shared_ptr<SequenceState> load_sequence(EngineCore& core, SnapshotSource source,
                                             const SessionLoadOptions& options,
                                             SessionLoad& result) {
  const SnapshotTarget target = target_of(core, options.foreign_numerics);
  SnapshotReader reader(std::move(source), target);
  if (!reader.header() || reader.reason().stop == SnapshotStop::other_model) {
    throw_unusable_snapshot(reader.reason());
  }
  HeldPages restored(core);
  int64_t num_pages = 0;
  const int64_t wanted_len = reader.wanted_len();
  if (wanted_len > 0) {
    core.reserve_restored(options.session, static_cast<int>(wanted_len), restored.pages);
    std::vector<std::byte> buffer = page_buffer(target.groups);
    while (const std::optional<SnapshotPage> page = reader.read_page(buffer)) {
      const PageId id = restored.pages.tables[page->group].at(static_cast<size_t>(page->index));
      core.model().backend().import_page(core.page_layout(page->group),
                                         core.page_address(page->group, id),
                                         target.groups[static_cast<size_t>(page->group)].layout,
                                         std::span(buffer).first(page->num_bytes),
                                         num_slots(target.page_len, page->index, wanted_len));
      ++num_pages;
    }
  }
  result = {.num_tokens = std::ssize(reader.tokens()),
            .kv_len = reader.kv_len(),
            .num_pages = reader.kv_len() > 0 ? num_pages : 0,
            .reason = reader.reason()};
  return core.adopt_sequence(options.session, reader.tokens(), restored.pages,
                             static_cast<int>(result.kv_len));
}

}  // namespace kvi
