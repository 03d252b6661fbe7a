#include "sim/simulate.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "sim/failure.h"
#include "sim/shrink.h"

namespace kvi::sim {
namespace {

constexpr int kMostShrinkingRuns = 600;

struct Outcome {
  std::string trace;
  std::string check;    // that failed; "": none
  std::string failure;  // all of what is known
  size_t num_applied = 0;
};

Outcome run(uint64_t seed, const std::vector<Operation>& operations, const WorldOptions& options,
            Coverage* coverage) {
  Outcome outcome;
  World world(seed, options);
  try {
    for (const Operation& operation : operations) {
      ++outcome.num_applied;
      world.apply(operation);
    }
    world.finish();
    outcome.trace = world.trace_hash();
    if (coverage != nullptr) coverage->add(world.coverage());
  } catch (const Failure& failure) {
    outcome.check = failure.check();
    outcome.failure = concat(failure.what(), world.describe_state());
  } catch (const Error& error) {
    outcome.check = outcome.failure = error.message();
  } catch (const std::exception& error) {
    outcome.check = outcome.failure = error.what();
  }
  return outcome;
}

// "3-5,9"
std::string numbers_of(const std::vector<Operation>& operations) {
  std::string text;
  for (size_t i = 0; i < operations.size();) {
    size_t last = i;
    while (last + 1 < operations.size() &&
           operations[last + 1].number == operations[last].number + 1) {
      ++last;
    }
    if (!text.empty()) text += ',';
    text += std::to_string(operations[i].number);
    if (last > i) text += concat("-", operations[last].number);
    i = last + 1;
  }
  return text;
}

void report(uint64_t seed, std::vector<Operation> operations, const Outcome& outcome,
            const SimulateOptions& options) {
  std::printf("seed %llu FAILED at operation %lld: %s\n", static_cast<unsigned long long>(seed),
              static_cast<long long>(
                  outcome.num_applied == 0 ? 0 : operations[outcome.num_applied - 1].number),
              outcome.failure.c_str());
  if (options.shrinks) {
    WorldOptions quiet = options.world;
    quiet.verbose = false;
    quiet.check_every = 1;
    operations.resize(outcome.num_applied);
    // Checked after every operation it may fail sooner, and by another check.
    const Outcome precise = run(seed, operations, quiet, nullptr);
    const std::string check = precise.check.empty() ? outcome.check : precise.check;
    if (precise.check.empty()) quiet.check_every = options.world.check_every;
    operations.resize(std::max<size_t>(precise.num_applied, 1));
    operations = shrink(
        std::move(operations),
        [&](const std::vector<Operation>& fewer) {
          return run(seed, fewer, quiet, nullptr).check == check;
        },
        kMostShrinkingRuns);
    std::printf("its %zu operations that fail too:\n", operations.size());
    quiet.verbose = true;
    const Outcome shrunk = run(seed, operations, quiet, nullptr);
    std::printf("    %s\n", shrunk.failure.c_str());
  }
  std::printf("replay: kvi_sim --seed %llu --operations %lld --keep %s\n",
              static_cast<unsigned long long>(seed), static_cast<long long>(options.num_operations),
              numbers_of(operations).c_str());
  std::fflush(stdout);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace

bool simulate(const SimulateOptions& options) {
  Coverage coverage;
  uint64_t num_failed = 0;
  std::string trace;
  const uint64_t num_seeds = options.last_seed - options.first_seed + 1;
  for (uint64_t i = 0; i < num_seeds; ++i) {
    const uint64_t seed = options.first_seed + i;
    std::vector<Operation> operations = make_operations(seed, options.num_operations,
                                                        options.faults);
    if (!options.kept.empty()) {
      std::erase_if(operations, [&](const Operation& operation) {
        return !std::ranges::binary_search(options.kept, operation.number);
      });
    }
    if (options.world.verbose) std::printf("%s\n", World(seed, options.world).describe().c_str());
    const Outcome outcome = run(seed, operations, options.world, &coverage);
    trace = outcome.trace;
    if (outcome.failure.empty()) continue;
    ++num_failed;
    report(seed, operations, outcome, options);
  }
  std::printf(
      "seeds %llu, operations %lld each, failed %llu\n", static_cast<unsigned long long>(num_seeds),
      static_cast<long long>(options.num_operations), static_cast<unsigned long long>(num_failed));
  bool ok = num_failed == 0;
  Coverage::each([&](const char* name, uint64_t Coverage::*member) {
    const uint64_t count = coverage.*member;
    std::printf("  %-26s %llu\n", name, static_cast<unsigned long long>(count));
    if (options.covers && count == 0) {
      std::printf("NOT COVERED: %s\n", name);
      ok = false;
    }
  });
  if (!trace.empty()) std::printf("trace %s\n", trace.c_str());
  std::fflush(stdout);
  return ok;
}

int64_t parse_number(const std::string& text) {
  size_t num_read = 0;
  int64_t number = -1;
  try {
    number = std::stoll(text, &num_read);
  } catch (const std::exception&) {
    num_read = 0;
  }
  if (num_read == 0 || num_read != text.size() || number < 0) {
    throw Error(Status::INVALID_ARGUMENT, concat(quoted(text, 40), " is not a number"));
  }
  return number;
}

std::vector<int64_t> parse_numbers(const std::string& text) {
  std::vector<int64_t> numbers;
  for (const std::string& part : split(text, ',')) {
    const std::vector<std::string> ends = split(part, '-');
    const int64_t first = parse_number(ends.front()), last = parse_number(ends.back());
    for (int64_t number = first; number <= last; ++number) numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  return numbers;
}

FaultSet parse_faults(const std::string& text) {
  if (text == "all") return FaultSet::all();
  FaultSet faults;
  if (text == "none") return faults;
  for (const std::string& name : split(text, ',')) {
    const auto found = std::ranges::find(kFaultNames, name);
    if (found == kFaultNames.end()) {
      throw Error(Status::INVALID_ARGUMENT, concat("there is no fault ", quoted(name, 40)));
    }
    faults.insert(static_cast<FaultKind>(found - kFaultNames.begin()));
  }
  return faults;
}

}  // namespace kvi::sim
