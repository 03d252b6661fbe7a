#include "sim/world.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/text.h"
#include "sim/failure.h"

namespace kvi::sim {
namespace {

constexpr int kPageLen = 4;
constexpr int kNumTenants = 4;
constexpr int kNumTexts = 6;   // that prompts have in common
constexpr int kLongest = 160;  // tokens of a session
constexpr int64_t kHourUs = int64_t{3'600'000'000};

PageLayout layout_of(int page_bytes) {
  PageLayout layout;
  layout.page_len = kPageLen;
  layout.page_bytes = static_cast<uint64_t>(page_bytes);
  return layout;
}

// Worlds without what evicts other than leaf first: other groups' granules, trims, explicit evictions.
bool is_steady(uint64_t seed, const WorldOptions& options) {
  const bool may_be_full = options.groups == Groups::by_seed || options.groups == Groups::full;
  return may_be_full && random_bits(seed, 5) % 6 == 0;
}

Shape make_shape(uint64_t seed, const WorldOptions& options) {
  Draws draws(random_bits(seed, 2));
  Shape shape;
  constexpr int kPageBytes[] = {512, 1536, 2048, 4096, 5120};
  int page_bytes = kPageBytes[draws.below(5)];
  if (options.page_bytes > 0) page_bytes = options.page_bytes;
  Groups groups = static_cast<Groups>(draws.between(1, 3));
  if (options.groups != Groups::by_seed) groups = options.groups;
  if (is_steady(seed, options)) groups = Groups::full;
  const int window = draws.between(3, 24), wider = draws.between(24, 60);
  const bool has_two_windows = draws.one_in(3);
  const PageLayout small = layout_of(std::max(64, page_bytes / 2));
  if (groups != Groups::window) shape.groups.push_back({layout_of(page_bytes), 0});
  if (groups != Groups::full) shape.groups.push_back({small, window});
  if (groups != Groups::full && has_two_windows) {
    shape.groups.push_back({layout_of(page_bytes), wider});
  }
  uint64_t bytes = 0;  // of one page in each group
  for (const LayerGroup& group : shape.groups) bytes += group.layout.page_bytes;
  const auto pages = [&](int least, int most) {
    return std::max<uint64_t>(static_cast<uint64_t>(draws.between(least, most)) * bytes, 16 * 4096);
  };
  shape.budget_bytes = pages(45, 120);
  shape.range_bytes = 2 * shape.budget_bytes;
  if (!draws.one_in(3)) shape.host_bytes = pages(20, 120);
  // A slot on the disk takes its page and a header of 4096 bytes.
  const int disk_slots = draws.between(10, 120);
  if (!draws.one_in(3)) {
    shape.disk_bytes = static_cast<uint64_t>(disk_slots) *
                       (bytes + 8192 * static_cast<uint64_t>(shape.groups.size()));
  }
  if (is_steady(seed, options)) shape.host_bytes = shape.disk_bytes = 0;
  shape.limits = {.max_batch_tokens = draws.between(8, 64),
                  .max_sequences = draws.between(2, 10),
                  .max_queued = draws.between(2, 12)};
  constexpr const char* kPolicies[] = {"lru", "lfu", "combined", "cost"};
  shape.policy = kPolicies[draws.below(4)];
  shape.tenant_share = 0.25 * draws.between(1, 4);
  return shape;
}

const char* name_of(OperationKind kind) {
  constexpr const char* kNames[] = {"schedule", "finish_step", "transfer", "open",  "submit",
                                    "cancel",   "close",       "truncate", "fork",  "suspend",
                                    "park",     "hold",        "evict",    "keep",  "set_budget",
                                    "trim",     "rival",       "advance",  "fault", "heal"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace

template <typename... Parts>
void World::tell(const Parts&... parts) const {
  if (options_.verbose) std::printf("    %s\n", concat(parts...).c_str());
}

World::World(uint64_t seed, const WorldOptions& options)
    : seed_(seed),
      options_(options),
      is_steady_(is_steady(seed, options)),
      shape_(make_shape(seed, options)),
      machine_(seed) {
  Draws draws(random_bits(seed, 3));
  if (!is_steady_ && draws.one_in(3)) {
    machine_.budget = std::make_shared<MemoryBudget>(shape_.budget_bytes * 5 / 4);
  }
  machine_.disk->make_folder("/");
  engine_ = std::make_unique<Engine>(shape_, machine_, 0, trace_, coverage_);
}

World::~World() = default;

std::string World::describe() const {
  std::string text = concat("budget ", shape_.budget_bytes, ", host ", shape_.host_bytes, ", disk ",
                            shape_.disk_bytes, ", policy ", shape_.policy, ", batch ",
                            shape_.limits.max_batch_tokens, ", sequences ",
                            shape_.limits.max_sequences, ", queue ", shape_.limits.max_queued);
  for (const LayerGroup& group : shape_.groups) {
    text += concat(", pages of ", group.layout.page_bytes);
    if (group.window > 0) text += concat(" in a window of ", group.window);
  }
  return text;
}

std::string World::describe_state() const {
  std::string text;
  const CacheManager& cache = engine_->cache();
  const DevicePages& pages = cache.prefixes().pages();
  text += concat("\n    ", pages.mapped_bytes(), " bytes mapped of ", pages.budget_bytes(),
                 ", granules of ", pages.granule_bytes());
  if (machine_.budget) {
    text += concat(", ", machine_.budget->leased(), " leased of ", machine_.budget->limit());
  }
  for (int g = 0; g < pages.num_groups(); ++g) {
    const PagePool& pool = pages.pool(g);
    text += concat("\n    group ", g, ": ", pool.num_in_class(PageClass::private_), " private, ",
                   pool.num_in_class(PageClass::pinned), " pinned, ",
                   pool.num_in_class(PageClass::cached), " cached, ",
                   pool.num_in_class(PageClass::deferred), " deferred, ",
                   pages.range(g).num_free_mapped(), " free with memory; ",
                   pages.range(g).num_idle_granules(), " idle granules");
  }
  engine_->each_session([&](const Session& session) {
    text += concat("\n    session ", session.place, ": ", session.pages.num_tokens, " of ",
                   session.len(), " tokens in ", cache.held_bytes(session.pages), " bytes, ",
                   session.pages.pinned.size(), " pages suspended, ", session.pages.loading.size(),
                   " on their way", session.request ? ", has a request" : "",
                   session.is_held ? ", held" : "");
  });
  return text;
}

// Tokens are bits, so that prompts have much in common even where they do not mean to.
TokenId World::token_at(int text, int position) const {
  return static_cast<TokenId>(random_bits(random_bits(seed_, 100 + text), position) & 1);
}

void World::apply(const Operation& operation) {
  Draws draws(operation.draw);
  Session* session = engine_->session(operation.session);
  const bool is_idle = session != nullptr && !session->request;
  trace_.add('o', {operation.number, static_cast<int64_t>(operation.kind), operation.session});
  if (options_.verbose) {
    std::printf("%lld %s, session %d%s\n", static_cast<long long>(operation.number),
                name_of(operation.kind), operation.session,
                session == nullptr ? " (none)"
                : is_idle          ? " (idle)"
                                   : "");
  }
  switch (operation.kind) {
    case OperationKind::schedule:
      schedule();
      if (engine_->is_computing() && draws.one_in(2)) finish_step();
      break;
    case OperationKind::finish_step:
      if (engine_->is_computing()) finish_step();
      break;
    case OperationKind::transfer: engine_->transfers().work(draws.below(12), draws); break;
    case OperationKind::open:
      if (session == nullptr) open(operation.session, draws);
      break;
    case OperationKind::submit:
      if (session == nullptr) open(operation.session, draws);
      if (session == nullptr || is_idle) submit(*engine_->session(operation.session), draws);
      break;
    case OperationKind::cancel:
      if (session != nullptr && !is_idle) {
        session->request->is_cancelled = true;
        session->request->rolls_back = draws.one_in(2);
      }
      break;
    case OperationKind::close:
      if (session != nullptr) engine_->close(*session);
      break;
    case OperationKind::truncate:
      if (is_idle) engine_->truncate(*session, draws.below(session->len() + 1));
      break;
    case OperationKind::fork:
      if (is_idle) fork(*session, draws);
      break;
    case OperationKind::suspend: {
      const TierId tier = draws.one_in(2) ? TierId::host : TierId::disk;
      if (is_idle && engine_->cache().prefixes().tier(tier) != nullptr) {
        tell(engine_->suspend(*session, tier) ? "suspended" : "no room",
             tier == TierId::host ? " in host memory" : " on disk");
      }
      break;
    }
    case OperationKind::park:
      if (is_idle) engine_->park(*session);
      break;
    case OperationKind::hold:
      if (is_idle) hold(*session);
      break;
    case OperationKind::evict:
      if (is_idle && !is_steady_) evict(*session, draws);
      break;
    case OperationKind::keep:
      if (is_idle) keep(*session, draws);
      break;
    case OperationKind::set_budget:
      if (!is_steady_) set_budget(draws);
      break;
    case OperationKind::trim:
      if (!is_steady_) engine_->cache().prefixes().trim(draws.bits() % shape_.budget_bytes);
      break;
    case OperationKind::rival: use_budget_elsewhere(draws); break;
    case OperationKind::advance: machine_.clock->advance(draws.below(2'000'000)); break;
    case OperationKind::fault: inject(operation.fault, draws); break;
    case OperationKind::heal: heal(); break;
    case OperationKind::count: break;
  }
  check_after(operation.number);
}

void World::check_after(int64_t number) {
  accounting_.check(*engine_);
  const CacheManager& cache = engine_->cache();
  const CacheStats& stats = cache.prefixes().stats();
  trace_.add(
      'a',
      {static_cast<int64_t>(cache.used_bytes()), static_cast<int64_t>(cache.mapped_bytes()),
       static_cast<int64_t>(stats.evicted_pages[0]), static_cast<int64_t>(stats.hit_tokens[0])});
  // A sample; those that compute are looked at as they do.
  const Session* session = engine_->session(static_cast<int>(number % kNumSessions));
  if (session != nullptr && !session->request && session->pages.loading.empty()) {
    check_readable(*engine_, *session);
  }
  if (number % options_.check_every == 0) check_everything(*engine_, is_steady_);
}

void World::finish_step() {
  if (options_.verbose) {
    for (const StepItem& item : engine_->step().items) {
      const Session& session = *static_cast<Session*>(item.sequence->owner);
      tell("session ", session.place, " computes ", item.num_tokens, " after ",
           session.pages.num_tokens, " of ", session.len());
    }
  }
  engine_->finish_step();
}

void World::schedule() {
  if (engine_->is_computing()) finish_step();
  engine_->schedule();
  for (const PageCopy& copy : engine_->step().copies) {
    tell(copy.from == kNoPage ? "zeroes page " : "copies to page ", copy.to, " of group ",
         copy.group, copy.from == kNoPage ? "" : concat(" page ", copy.from));
  }
  // Whoever sleeps is woken by a new request or the report of a move.
  require(!engine_->would_sleep() || engine_->num_requests() == 0 ||
              engine_->transfers().num_moves() > 0,
          "nobody waits for what does not come", engine_->num_requests(),
          " requests wait, and no step is planned and no move in flight");
}

// ---- users ----

void World::open(int place, Draws& draws) {
  Owner owner{static_cast<uint8_t>(kOperator + 1 + draws.below(kNumTenants))};
  if (draws.one_in(6)) {
    owner.tenant = kOperator;
  } else if (draws.one_in(8)) {
    owner.session = static_cast<uint8_t>(1 + num_unshared_++ % 255);
  }
  engine_->open(place, owner, !draws.one_in(5));
  tell("tenant ", int{owner.tenant}, owner.session != 0 ? ", not shared" : "");
}

void World::submit(Session& session, Draws& draws) {
  std::vector<TokenId> tokens;
  const int text = draws.below(kNumTexts);
  const int num_common = draws.one_in(3) ? 0 : draws.below(60);
  const int num_own = draws.between(1, 24);
  for (int i = 0; i < num_common; ++i) tokens.push_back(token_at(text, session.len() + i));
  for (int i = 0; i < num_own; ++i) tokens.push_back(draws.below(2));
  const int to_generate = draws.between(1, 20);
  const int most = draws.one_in(20) ? 1000 : kLongest;
  if (session.len() + num_common + num_own + to_generate > most) {
    // A long session starts anew: at a turn of its own, or at nothing.
    engine_->truncate(session, draws.below(kLongest / 2));
  }
  if (draws.one_in(40)) tokens.resize(tokens.size() + 600, 1);  // more than there is room for
  const int priority = draws.one_in(2) ? 0 : draws.between(-2, 2);
  const int64_t deadline_us = draws.one_in(6) ? machine_.clock->now_us() + draws.below(20'000'000)
                                              : std::numeric_limits<int64_t>::max();
  const Submitted submitted = engine_->submit(session, tokens, to_generate, priority, deadline_us);
  constexpr const char* kOutcomes[] = {"queued", "refused: too large", "refused: queue full"};
  tell(tokens.size(), " tokens and ", to_generate, " to generate, priority ", priority, ": ",
       kOutcomes[static_cast<int>(submitted)]);
}

void World::fork(const Session& session, Draws& draws) {
  const int place = draws.below(kNumSessions);
  if (engine_->session(place) != nullptr) return;
  engine_->fork(session, place);
  tell("into session ", place);
}

void World::hold(Session& session) {
  uint64_t held = engine_->cache().held_bytes(session.pages);
  engine_->each_session([&](const Session& other) {
    if (other.is_held) held += engine_->cache().held_bytes(other.pages);
  });
  session.is_held = !session.is_held && held < engine_->cache().budget_bytes() / 3;
}

void World::evict(const Session& session, Draws& draws) {
  PrefixCache& prefixes = engine_->cache().prefixes();
  NodeId node = session.pages.pinned.empty() ? session.pages.node : session.pages.pinned.back();
  for (int up = draws.below(6); up > 0 && node != PrefixTree::kRoot; --up) {
    node = prefixes.tree().parent(node);
  }
  if (node == PrefixTree::kRoot) return;
  prefixes.evict(node);
}

void World::keep(const Session& session, Draws& draws) {
  if (session.pages.node == PrefixTree::kRoot) return;
  engine_->cache().prefixes().mark_boundary(session.pages.node,
                                            draws.one_in(2) ? Band::high : Band::low);
}

void World::set_budget(Draws& draws) {
  const uint64_t least = std::max(engine_->cache().least_budget(), shape_.budget_bytes / 3);
  const uint64_t num_bytes = least + draws.bits() % (shape_.range_bytes - least + 1);
  tell("to ", num_bytes);
  engine_->set_budget(num_bytes);
}

void World::use_budget_elsewhere(Draws& draws) {
  if (!machine_.budget) return;
  if (machine_.rival_bytes > 0 && draws.one_in(2)) {
    machine_.budget->give_back(machine_.rival_bytes);
    machine_.rival_bytes = 0;
  } else {
    const uint64_t wanted = draws.bits() % (shape_.budget_bytes / 3);
    if (machine_.budget->lease(wanted)) {
      machine_.rival_bytes += wanted;
    } else {
      engine_->want_memory();
    }
  }
}

// ---- faults ----

void World::inject_on_disk(Fault fault, Draws& draws) {
  constexpr FileCall kCalls[] = {FileCall::write,    FileCall::write,      FileCall::read,
                                 FileCall::read,     FileCall::open,       FileCall::info,
                                 FileCall::allocate, FileCall::punch_hole, FileCall::truncate};
  const bool is_of_transfer = fault.kind == Fault::Kind::too_short ||
                              fault.kind == Fault::Kind::bit_flip;
  if (fault.call == FileCall::any) fault.call = kCalls[draws.below(is_of_transfer ? 4 : 9)];
  fault.nth = machine_.files->num_calls(fault.call) + draws.between(1, 12);
  machine_.files->inject(fault);
}

void World::inject(FaultKind kind, Draws& draws) {
  tell(kFaultNames[static_cast<size_t>(kind)]);
  switch (kind) {
    case FaultKind::memory:
      machine_.memory->num_passing = draws.below(4);
      machine_.memory->num_refused = draws.one_in(4) ? 30 : draws.between(1, 3);
      break;
    case FaultKind::io:
      inject_on_disk({.kind = Fault::Kind::error, .for_ever = draws.one_in(4)}, draws);
      break;
    case FaultKind::partial: inject_on_disk({.kind = Fault::Kind::too_short}, draws); break;
    case FaultKind::torn:
      inject_on_disk({.kind = Fault::Kind::torn, .call = FileCall::write}, draws);
      break;
    case FaultKind::flip: inject_on_disk({.kind = Fault::Kind::bit_flip}, draws); break;
    case FaultKind::full: machine_.disk->disk_bytes = machine_.disk->allocated_bytes(); break;
    case FaultKind::vanish:
      if (draws.one_in(2)) {
        machine_.disk->delete_folder(kDiskFolder);
      } else {
        inject_on_disk({.kind = Fault::Kind::vanish}, draws);
      }
      break;
    case FaultKind::slow:
      inject_on_disk({.kind = Fault::Kind::delay, .delay_us = 60'000'000}, draws);
      break;
    case FaultKind::reorder: engine_->transfers().reorders_slots = true; break;
    case FaultKind::transfer: engine_->transfers().num_to_fail = draws.between(1, 4); break;
    case FaultKind::clock:
      machine_.clock->advance(draws.one_in(2) ? -kHourUs : 10 * 365 * 24 * kHourUs);
      break;
    case FaultKind::crash: crash(draws); break;
    case FaultKind::count: break;
  }
}

void World::heal() {
  machine_.files->reset();
  machine_.disk->disk_bytes = ~uint64_t{0};
  machine_.memory->num_refused = 0;
  engine_->transfers().reorders_slots = false;
  engine_->transfers().num_to_fail = 0;
}

// Nothing of the engine is left but its files, and maybe a write in the middle of one. Its users come back with
// what they had said.
void World::crash(Draws& draws) {
  coverage_.refused_commits += std::exchange(machine_.memory->refusals, 0);
  ++coverage_.restarts;
  if (draws.one_in(2)) {
    Fault torn{.kind = Fault::Kind::torn, .call = FileCall::write};
    torn.nth = machine_.files->num_calls(FileCall::write) + draws.between(1, 3);
    machine_.files->inject(torn);
    coverage_.torn += engine_->transfers().write_to_disk(draws);
  }
  struct User {
    int place;
    Owner owner;
    bool reads_shared;
    std::vector<TokenId> tokens;
  };
  std::vector<User> users;
  engine_->each_session([&](const Session& session) {
    if (session.is_abandoned) return;
    // A session that did not share has a scope of its own while it is suspended.
    users.push_back({session.place, session.owner,
                     session.owner.session != 0 || session.pages.reads_shared, session.tokens});
  });
  const int model = draws.one_in(5) ? 1 - engine_->model() : engine_->model();
  engine_.reset();
  accounting_.forget();
  machine_.files->reset();
  const bool stays_broken = draws.one_in(6);
  if (stays_broken) {
    inject_on_disk({.kind = Fault::Kind::error, .for_ever = draws.one_in(2)}, draws);
  }
  tell("model ", model, " and ", users.size(), " sessions come back");
  engine_ = std::make_unique<Engine>(shape_, machine_, model, trace_, coverage_);
  for (const User& user : users) {
    Session& session = engine_->open(user.place, user.owner, user.reads_shared);
    for (const TokenId token : user.tokens) session.append(token);
  }
}

// ---- the end ----

void World::finish() {
  tell("the end");
  heal();
  if (machine_.budget) machine_.budget->give_back(std::exchange(machine_.rival_bytes, 0));
  engine_->each_session([&](Session& session) { session.is_held = false; });
  Draws draws(random_bits(seed_, 4));
  int64_t tokens = 0;
  engine_->each_session([&](const Session& session) {
    if (session.request) tokens += session.len() + session.request->to_generate;
  });
  // Each token once, and again for some preemptions; and as often the disk's and the moves' share.
  for (int64_t steps_left = 100 + 20 * tokens; engine_->num_requests() > 0; --steps_left) {
    require(steps_left > 0, "no request starves once faults have stopped", engine_->num_requests(),
            " requests are left");
    schedule();
    if (engine_->is_computing()) finish_step();
    tell(engine_->scheduler().num_running(), " run, ", engine_->scheduler().num_waiting(),
         " wait, ", engine_->transfers().num_moves(), " moves");
    engine_->transfers().work(16, draws);
    accounting_.check(*engine_);
  }
  check_everything(*engine_, is_steady_);
  for (int place = 0; place < kNumSessions; ++place) {
    Session* session = engine_->session(place);
    if (session != nullptr) engine_->close(*session);
  }
  for (int left = 1000; engine_->transfers().dispatch(), engine_->transfers().num_moves() > 0;) {
    require(left-- > 0, "background moves come to an end", "");
    engine_->transfers().work(64, draws);
  }
  engine_->cache().prefixes().trim(UINT64_MAX);
  check_everything(*engine_, is_steady_);
  check_nothing_is_held(*engine_);
  coverage_.refused_commits += std::exchange(machine_.memory->refusals, 0);
  engine_.reset();
  require(!machine_.budget || machine_.budget->leased() == 0, "a shared budget gets all back", "");
}

}  // namespace kvi::sim
