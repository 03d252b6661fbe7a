#include "cache_ops_scenario.h"

#include <algorithm>
#include <chrono>
#include <list>

#include "base/error.h"
#include "cache/host_store.h"
#include "prefill.h"
#include "sched/scheduler.h"

namespace kvi {
namespace {

constexpr int kContext = 4096;        // tokens of the sequences that are operated on
constexpr int kAllocated = 256;       // tokens that one allocate, or one swap, is about
constexpr int kLongPrefix = 100'000;  // tokens
constexpr int kLookups = 20;          // of the long prefix
constexpr int kMostSteps = 200;       // of the scheduler: more would add pages of their own

// Times of one operation, and what it changed.
class Samples {
 public:
  template <typename Operation, typename Bytes>
  void measure(const Operation& operation, const Bytes& bytes) {
    const auto before = static_cast<double>(bytes());
    const auto start = std::chrono::steady_clock::now();
    operation();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    times_.push_back(took.count());
    change_ += static_cast<double>(bytes()) - before;
  }
  OperationCost cost(const char* name, int64_t context) {
    if (times_.empty()) return {.name = name, .context = context};
    std::sort(times_.begin(), times_.end());
    const size_t count = times_.size();
    return {name,
            context,
            static_cast<int64_t>(count),
            times_[count / 2],
            times_[count * 99 / 100],
            change_ / static_cast<double>(count)};
  }

 private:
  std::vector<double> times_;  // microseconds
  double change_ = 0;
};

// The moves that the cache planned, made here and now.
void make_moves(CacheManager& cache, TierStore& store) {
  for (;;) {
    std::list<PageMove> moves = cache.prefixes().take_moves(64);
    if (moves.empty()) return;
    for (PageMove& move : moves) {
      move.record.tokens = move.tokens;
      bool ok = true;
      if (move.kind == MoveKind::discard) {
        store.discard(move.group, move.slot);
      } else {
        const uint64_t page_bytes = cache.groups()[move.group].layout.page_bytes;
        const std::span<std::byte> page(
            cache.pages(move.group) + static_cast<uint64_t>(move.page) * page_bytes, page_bytes);
        ok = move.kind == MoveKind::store ? store.write(move.slot, move.record, page)
                                          : store.read(move.slot, move.record, page);
      }
      cache.prefixes().complete(move.id, ok);
    }
  }
}

void require(bool done) {
  if (!done) throw Error(Status::OUT_OF_MEMORY, "the system refuses memory for pages");
}

class CacheOperations {
 public:
  CacheOperations(const KvShape& shape, int count, uint64_t seed)
      : shape_(shape),
        count_(count),
        seed_(seed),
        budget_bytes_((uint64_t{4} * kContext + kLongPrefix) * shape.token_bytes() + (64 << 20)),
        store_(std::make_shared<HostStore>(tier_groups(), host_bytes(), reserve_host_memory)),
        cache_(shape.groups(),
               {.budget_bytes = budget_bytes_, .host = store_, .host_bytes = host_bytes()},
               reserve_host_memory) {}

  std::vector<OperationCost> run() {
    std::vector<OperationCost> costs = {allocate(), append(), lookup("lookup", kContext, count_),
                                        fork()};
    for (OperationCost& cost : swap()) costs.push_back(cost);
    costs.push_back(lookup("lookup_100k", kLongPrefix, std::min(count_, kLookups)));
    costs.push_back(evict());
    costs.push_back(resize());
    cache_.check_invariants();
    return costs;
  }

 private:
  std::vector<TierGroup> tier_groups() const {
    std::vector<TierGroup> groups;
    for (const LayerGroup& group : shape_.groups()) {
      groups.push_back({group.layout.page_bytes, group.layout.page_len});
    }
    return groups;
  }
  uint64_t host_bytes() const { return 4 * kAllocated * shape_.token_bytes() + (8 << 20); }
  auto used() const {
    return [this] { return cache_.used_bytes(); };
  }
  auto mapped() const {
    return [this] { return cache_.mapped_bytes(); };
  }

  // Pages for a chunk of a new sequence.
  OperationCost allocate() {
    Samples samples;
    std::vector<PageCopy> copies;
    for (int i = 0; i < count_; ++i) {
      SequencePages pages = cache_.make_sequence();
      copies.clear();
      samples.measure([&] { require(cache_.reserve(pages, kAllocated, copies)); }, used());
      cache_.finish_copies(copies);
      cache_.release(pages);
    }
    return samples.cost("allocate", kAllocated);
  }

  // One more token of a long sequence, indexed: every page_len-th takes a page and hashes one.
  OperationCost append() {
    Samples samples;
    const std::vector<TokenId> tokens = random_tokens(seed_, 1, kContext + count_);
    SequencePages pages = cache_.make_sequence();
    require(prefill(cache_, pages, kContext, std::span(tokens).first(kContext)));
    std::vector<PageCopy> copies;
    for (int i = 0; i < count_; ++i) {
      copies.clear();
      samples.measure(
          [&] {
            require(cache_.reserve(pages, 1, copies));
            const auto known = static_cast<size_t>(pages.num_tokens) + 1;
            cache_.commit(pages, 1, std::span(tokens).first(known));
          },
          used());
      cache_.finish_copies(copies);
    }
    cache_.release(pages);
    return samples.cost("append", kContext);
  }

  // Of a prompt that is cached, hashing included.
  OperationCost lookup(const char* name, int context, int count) {
    Samples samples;
    const std::vector<TokenId> tokens = random_tokens(seed_, 2, context);
    SequencePages cached = cache_.make_sequence();
    require(attach_and_prefill(cache_, cached, tokens));
    const SequencePages asking = cache_.make_sequence();
    int found = 0;
    for (int i = 0; i < count; ++i) {
      samples.measure(
          [&] {
            const PrefixMatch match = cache_.prefixes().match(asking, tokens, context - 1, false);
            found = match.num_tokens(cache_.page_len());
          },
          used());
      KVI_CHECK(found >= (context - 1) / cache_.page_len() * cache_.page_len());
    }
    cache_.release(cached);
    return samples.cost(name, context);
  }

  OperationCost fork() {
    Samples samples;
    const std::vector<TokenId> tokens = random_tokens(seed_, 3, kContext);
    SequencePages pages = cache_.make_sequence();
    require(prefill(cache_, pages, kContext, tokens));
    for (int i = 0; i < count_; ++i) {
      SequencePages copy;
      samples.measure([&] { copy = cache_.fork(pages); }, used());
      cache_.release(copy);
    }
    cache_.release(pages);
    return samples.cost("fork", kContext);
  }

  // Out to host memory and in again, the copies made included.
  std::vector<OperationCost> swap() {
    Samples out, in;
    const std::vector<TokenId> tokens = random_tokens(seed_, 4, kAllocated);
    SequencePages pages = cache_.make_sequence();
    require(prefill(cache_, pages, kAllocated, tokens));
    const int num_swaps = std::max(1, count_ / 10);
    make_moves(cache_, *store_);  // what was written through for the operations before
    for (int i = 0; i < num_swaps; ++i) {
      uint64_t needed = 0;
      out.measure(
          [&] {
            require(cache_.suspend(pages, tokens, TierId::host, &needed));
            make_moves(cache_, *store_);
          },
          used());
      cache_.prefixes().trim(UINT64_MAX);  // so that it comes from the tier
      std::vector<PageCopy> copies;
      in.measure(
          [&] {
            cache_.attach(pages, tokens, kAllocated, copies);
            make_moves(cache_, *store_);
          },
          used());
      KVI_CHECK(cache_.is_ready(pages) && pages.num_tokens == kAllocated && copies.empty());
      cache_.prefixes().evict_scope(std::nullopt);  // the tier's copies: it is to write them again
      make_moves(cache_, *store_);
    }
    cache_.release(pages);
    return {out.cost("swap", kAllocated), in.cost("swap_in", kAllocated)};
  }

  // What is only cached, until a granule of memory is given back.
  OperationCost evict() {
    Samples samples;
    while (static_cast<int>(num_evictions_) < count_ && cache_.mapped_bytes() > 0) {
      uint64_t given_back = 0;
      samples.measure([&] { given_back = cache_.prefixes().trim(1); }, mapped());
      if (given_back == 0) break;
      ++num_evictions_;
    }
    return samples.cost("evict", kLongPrefix);
  }

  // Down to half and up again, with a granule's worth of cached pages to give up each time.
  OperationCost resize() {
    Samples samples;
    DevicePages& device = cache_.prefixes().pages();
    const uint64_t granule = device.granule_bytes();
    const std::vector<TokenId> tokens = random_tokens(seed_, 5, kContext);
    for (int i = 0; i < std::max(1, count_ / 10); ++i) {
      SequencePages pages = cache_.make_sequence();
      require(attach_and_prefill(cache_, pages, tokens));
      cache_.release(pages);
      const uint64_t less = std::max(granule, cache_.mapped_bytes() / 2 / granule * granule);
      samples.measure(
          [&] {
            device.set_budget(less);
            cache_.prefixes().trim(device.excess_bytes());
          },
          mapped());
      KVI_CHECK(cache_.mapped_bytes() <= less);
      device.set_budget(budget_bytes_);
    }
    return samples.cost("resize", kContext);
  }

  const KvShape shape_;
  const int count_;
  const uint64_t seed_;
  const uint64_t budget_bytes_;
  const std::shared_ptr<HostStore> store_;
  CacheManager cache_;
  int64_t num_evictions_ = 0;
};

}  // namespace

std::vector<OperationCost> measure_cache_operations(const KvShape& shape, int count,
                                                    uint64_t seed) {
  return CacheOperations(shape, count, seed).run();
}

OperationCost measure_scheduler_step(int num_sequences, int num_pages, int count, uint64_t seed) {
  count = std::min(count, kMostSteps);
  constexpr uint64_t kPageBytes = 4096;
  constexpr int kPageLen = 16, kStartLen = 16;
  LayerGroup group;
  group.layout.page_len = kPageLen;
  group.layout.page_bytes = kPageBytes;
  const int growth = (kStartLen + count) / kPageLen + 2;
  const auto room = static_cast<uint64_t>(num_pages + num_sequences * growth);
  CacheManager cache({group}, {.budget_bytes = 2 * room * kPageBytes}, reserve_host_memory);
  for (int made = 0, stream = 0; made < num_pages; ++stream) {
    const int pages_here = std::min(256, num_pages - made);
    SequencePages cached = cache.make_sequence();
    const auto tokens = random_tokens(seed, static_cast<uint64_t>(stream), pages_here * kPageLen);
    require(prefill(cache, cached, pages_here * kPageLen, tokens));
    cache.release(cached);
    made += pages_here;
  }
  struct Running {
    SequencePages pages;
    std::vector<TokenId> tokens;
    SchedSequence sequence;
  };
  Scheduler scheduler(cache, {.max_batch_tokens = std::max(512, num_sequences),
                              .max_sequences = num_sequences,
                              .max_queued = num_sequences});
  std::vector<std::unique_ptr<Running>> running;
  for (int i = 0; i < num_sequences; ++i) {
    auto added = std::make_unique<Running>();
    added->pages = cache.make_sequence();
    added->tokens = random_tokens(~seed, static_cast<uint64_t>(i), kStartLen + count + 1);
    added->sequence = {.pages = &added->pages,
                       .num_known = kStartLen,
                       .tokens = &added->tokens,
                       .first_wanted = kStartLen - 1};
    KVI_CHECK(scheduler.enqueue(added->sequence));
    running.push_back(std::move(added));
  }
  const auto commit = [&](const Step& step) {
    cache.finish_copies(step.copies);
    for (const StepItem& item : step.items) {
      const auto known = static_cast<size_t>(item.sequence->pages->num_tokens + item.num_tokens);
      cache.commit(*item.sequence->pages, item.num_tokens,
                   std::span(*item.sequence->tokens).first(known));
      item.sequence->num_known += item.sequence->num_pending() == 0;
    }
  };
  const auto is_prefilling = [](const auto& r) { return r->pages.num_tokens < kStartLen; };
  while (std::any_of(running.begin(), running.end(), is_prefilling)) commit(scheduler.schedule());
  // Those that came first have decoded a few tokens already: apart, as in a service.
  Samples samples;
  const auto least_left = [&] {
    int most = 0;
    for (const auto& r : running) most = std::max(most, r->sequence.num_known);
    return kStartLen + count - most;
  };
  while (least_left() > 0) {
    const Step* step = nullptr;
    samples.measure([&] { step = &scheduler.schedule(); }, [&] { return cache.used_bytes(); });
    KVI_CHECK(static_cast<int>(step->items.size()) == num_sequences);
    commit(*step);
  }
  for (const auto& r : running) {
    scheduler.remove(r->sequence);
    cache.release(r->pages);
  }
  return samples.cost("scheduler_step", num_pages);
}

}  // namespace kvi
