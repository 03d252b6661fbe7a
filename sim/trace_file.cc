#include "trace_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"

namespace kvi {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& what) { throw Error(Status::CORRUPT, what); }

const Json& member(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) refuse(std::string("there is no ") + name);
  return *found;
}

int64_t integer(const Json& value, const std::string& name) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  if (!fits) refuse(name + " is not an integer of 64 bits");
  return value.get<int64_t>();
}

int64_t length(const Json& value, const char* name) {
  const int64_t tokens = integer(value, name);
  if (tokens < 0) refuse(std::string(name) + " is negative");
  return tokens;
}

TraceRequest parse_request(std::string_view line) {
  const Json object = Json::parse(line);
  if (!object.is_object()) refuse("the line is not a JSON object");
  TraceRequest request;
  request.input_length = length(member(object, "input_length"), "input_length");
  if (object.contains("output_length")) {
    request.output_length = length(object["output_length"], "output_length");
  }
  if (object.contains("timestamp")) {
    if (!object["timestamp"].is_number()) refuse("timestamp is not a number");
    request.timestamp_ms = object["timestamp"].get<double>();
  }
  const Json& ids = member(object, "hash_ids");
  if (!ids.is_array()) refuse("hash_ids is not an array");
  request.hash_ids.reserve(ids.size());
  for (const Json& id : ids) request.hash_ids.push_back(integer(id, "an element of hash_ids"));
  return request;
}

}  // namespace

std::vector<TraceRequest> parse_trace(std::string_view text, const std::string& name) {
  std::vector<TraceRequest> trace;
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = name + ", line " + std::to_string(number) + ": ";
    try {
      trace.push_back(parse_request(line));
    } catch (const Json::exception& error) {
      throw Error(Status::CORRUPT, where + error.what());
    } catch (const Error& error) {
      throw Error(error.status(), where + error.message());
    }
  }
  return trace;
}

std::vector<TraceRequest> read_trace_file(const std::string& path) {
  constexpr uint64_t kMaxBytes = uint64_t{4} << 30;
  return parse_trace(File::read_all(path, kMaxBytes), path);
}

int64_t count_unique_blocks(const std::vector<TraceRequest>& trace) {
  std::unordered_set<int64_t> blocks;
  for (const TraceRequest& request : trace) {
    blocks.insert(request.hash_ids.begin(), request.hash_ids.end());
  }
  return static_cast<int64_t>(blocks.size());
}

}  // namespace kvi
