#include "measuring.h"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <limits>
#include <random>
#include <sstream>

namespace cli {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A request and when it was made, in seconds of the measurement's clock.
struct TimedRequest {
  kvinfer::Stream stream;
  double made_at;
};

// Starts a request in each session, and waits for the end of all.
std::vector<TimedRequest> generate(std::vector<kvinfer::Session>& sessions, uint32_t num_tokens) {
  const auto options = kvinfer::GenerateOptions::greedy(num_tokens).ignore_eos();
  std::vector<TimedRequest> requests;
  const Clock::time_point start = Clock::now();
  for (kvinfer::Session& session : sessions) {
    const double made_at = seconds_since(start);
    requests.push_back({session.generate(options), made_at});
  }
  for (TimedRequest& request : requests) {
    while (request.stream.next()) continue;
    if (request.stream.usage().generated_tokens != num_tokens) {
      throw Failure(ExitCode::failure, "a sequence ended early");
    }
  }
  return requests;
}

// From the first request to the last first token, with nothing to decode.
double prefill_rate(std::vector<kvinfer::Session>& sessions, uint32_t prompt_len) {
  double end = 0;
  for (const TimedRequest& request : generate(sessions, 1)) {
    end = std::max(end, request.made_at + request.stream.usage().ttft_ms / 1000);
  }
  return prompt_len * static_cast<double>(sessions.size()) / end;
}

// Between first and last token, with the prompts computed.
double decode_rate(std::vector<kvinfer::Session>& sessions, uint32_t gen_len) {
  double first = std::numeric_limits<double>::infinity(), last = 0;
  for (const TimedRequest& request : generate(sessions, gen_len)) {
    const kvi_usage usage = request.stream.usage();
    const double begin = request.made_at + usage.ttft_ms / 1000;
    first = std::min(first, begin);
    last = std::max(last, begin + usage.tpot_ms / 1000 * (usage.generated_tokens - 1));
  }
  return (gen_len - 1) * static_cast<double>(sessions.size()) / (last - first);
}

std::string cell(const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number_float()) return value.dump();
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << value.get<double>();
  return text.str();
}

}  // namespace

kvinfer::Engine create_engine(const kvinfer::Model& model, const kvi_engine_options& options) {
  kvi_engine* handle = nullptr;
  kvi_error* error = nullptr;
  const kvi_status status = kvi_engine_create(model.raw(), &options, &handle, &error);
  if (status != KVI_OK) throw kvinfer::Error(status, error);
  return kvinfer::Engine(kvinfer::detail::Handle<kvi_engine>(handle));
}

uint64_t bytes_per_sequence(const kvinfer::Model& model, const kvi_engine_options& options) {
  const kvi_plan plan = model.plan(kvinfer::PlanOptions()
                                       .max_model_len(options.max_model_len)
                                       .max_num_batched_tokens(options.max_batch_tokens)
                                       .block_size(options.page_len));
  return plan.kv_bytes_per_sequence + plan.kv_prefill_bytes;
}

Tokens random_tokens(const kvinfer::Model& model, uint64_t seed, uint32_t count) {
  std::mt19937_64 random(seed);
  const auto last = static_cast<int32_t>(model.info().vocab_size) - 1;
  std::uniform_int_distribution<int32_t> any_token(0, last);
  Tokens tokens(count);
  std::generate(tokens.begin(), tokens.end(), [&] { return any_token(random); });
  return tokens;
}

Answer answer(kvinfer::Session& session, uint32_t num_tokens) {
  kvinfer::Stream stream = session.generate(
      kvinfer::GenerateOptions::greedy(num_tokens).ignore_eos());
  while (stream.next()) continue;
  Answer made = {stream.usage(), stream.tokens()};
  if (made.tokens.size() != num_tokens) {
    throw Failure(ExitCode::failure, "a sequence ended early");
  }
  return made;
}

Answer answer(const kvinfer::Engine& engine, const Tokens& prompt, uint32_t num_tokens) {
  kvinfer::Session session = engine.session();
  session.append(prompt);
  return answer(session, num_tokens);
}

void require_equal(const Answer& a, const Answer& b, const std::string& what) {
  if (a.tokens == b.tokens) return;
  throw Failure(ExitCode::failure, what + ": other tokens came out than without; this is a bug");
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Throughput measure_throughput(const kvinfer::Engine& engine, const kvinfer::Model& model,
                              uint32_t num_sequences, uint32_t prompt_len, uint32_t gen_len,
                              uint64_t seed) {
  std::vector<kvinfer::Session> sessions;
  for (uint64_t i = 0; i < num_sequences; ++i) {
    sessions.push_back(engine.session());
    sessions.back().append(random_tokens(model, seed << 32 | i, prompt_len));
  }
  Throughput measured;
  measured.prefill = prefill_rate(sessions, prompt_len);
  measured.decode = decode_rate(sessions, gen_len);
  for (const kvinfer::Session& session : sessions) measured.kv_bytes += session.info().kv_bytes;
  return measured;
}

void print_results(const Json& rows, bool json) {
  if (json) {
    print_json({{"results", rows}});
    return finish_output();
  }
  std::vector<std::string> columns;
  for (const Json& row : rows) {
    for (const auto& [key, value] : row.items()) {
      if (std::find(columns.begin(), columns.end(), key) == columns.end()) columns.push_back(key);
    }
  }
  const auto text = [](const Json& row, const std::string& column) {
    return row.contains(column) ? cell(row[column]) : std::string();
  };
  std::vector<size_t> widths;
  for (const std::string& column : columns) {
    size_t width = column.size();
    for (const Json& row : rows) width = std::max(width, text(row, column).size());
    widths.push_back(width);
  }
  const auto print_line = [&](const auto& text_of) {
    for (size_t i = 0; i < columns.size(); ++i) {
      std::cout << (i == 0 ? "" : "  ") << (i == 0 ? std::left : std::right)
                << std::setw(static_cast<int>(widths[i])) << text_of(columns[i]);
    }
    std::cout << "\n";
  };
  print_line([](const std::string& column) { return column; });
  for (const Json& row : rows) {
    print_line([&](const std::string& column) { return text(row, column); });
  }
  finish_output();
}

}  // namespace cli
