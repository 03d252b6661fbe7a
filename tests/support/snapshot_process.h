// One model through save and reload: cold, in the same process and in another one, the same tokens and the same bits.
//
// KVINFER_SNAPSHOT_CHILD names the program of snapshot_child.cc.
#pragma once

#include <gtest/gtest.h>
#include <kvinfer/kvinfer.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "support/continuation.h"
#include "support/temp_folder.h"

namespace kvi {

struct ChildResult {
  int exit_code = -1;
  int32_t reason = -1;
  uint32_t num_tokens = 0, num_kv_tokens = 0, cached_tokens = 0;
  std::string bits;
};

inline ChildResult continue_in_child(const std::string& model, const std::string& snapshot,
                                     uint32_t page_len, uint32_t max_tokens) {
  const std::string command = std::string("'") + KVINFER_SNAPSHOT_CHILD + "' '" + model + "' '" +
                              snapshot + "' " + std::to_string(page_len) + " " +
                              std::to_string(max_tokens);
  std::FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char piece[4096];
  for (size_t n; (n = std::fread(piece, 1, sizeof piece, pipe)) > 0;) output.append(piece, n);
  ChildResult result;
  result.exit_code = pclose(pipe);
  std::istringstream numbers(output);
  numbers >> result.reason >> result.num_tokens >> result.num_kv_tokens >> result.cached_tokens;
  const size_t line = output.find('\n');
  if (line != std::string::npos) result.bits = output.substr(line + 1);
  return result;
}

inline kvi_engine* open_engine(const std::string& model, uint32_t page_len = 16) {
  kvi_engine_options options;
  kvi_engine_options_init(&options, sizeof options);
  options.page_len = page_len;
  kvi_engine* engine = nullptr;
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_engine_open(model.data(), model.size(), &options, &engine, &error), KVI_OK)
      << kvi_error_message(error);
  kvi_error_release(error);
  return engine;
}

inline void close_engine(kvi_engine* engine) {
  EXPECT_EQ(kvi_engine_close(engine, KVI_FOREVER, nullptr), KVI_OK);
  kvi_engine_release(engine);
}

inline kvi_session* session_with(kvi_engine* engine, const std::vector<int32_t>& tokens) {
  kvi_session* session = nullptr;
  EXPECT_EQ(kvi_session_create(engine, nullptr, &session, nullptr), KVI_OK);
  kvi_part part;
  kvi_part_init(&part, sizeof part);
  part.kind = KVI_PART_TOKENS;
  part.tokens = tokens.data();
  part.num_tokens = tokens.size();
  EXPECT_EQ(kvi_session_append(session, &part, 1, nullptr), KVI_OK);
  return session;
}

inline std::vector<int32_t> tokens_of(kvi_session* session) {
  size_t count = 0;
  EXPECT_EQ(kvi_session_tokens(session, nullptr, 0, &count, nullptr), KVI_OK);
  std::vector<int32_t> tokens(count);
  EXPECT_EQ(kvi_session_tokens(session, tokens.data(), count, &count, nullptr), KVI_OK);
  return tokens;
}

inline void expect_reload_is_bitwise_equal(const std::string& model,
                                           const std::vector<int32_t>& prompt) {
  constexpr uint32_t kAnswerLen = 8, kMoreLen = 16;
  const TempFolder folder;
  const std::string path = folder.path("session.kvs");
  kvi_engine* engine = open_engine(model);
  kvi_session* session = session_with(engine, prompt);
  const Continuation answer = continue_session(session, kAnswerLen);
  EXPECT_EQ(answer.cached_tokens, 0u);
  const std::vector<int32_t> tokens = tokens_of(session);
  const uint32_t computed = static_cast<uint32_t>(tokens.size()) - 1;  // all but the last
  kvi_error* error = nullptr;
  ASSERT_EQ(kvi_session_save(session, path.data(), path.size(), &error), KVI_OK)
      << kvi_error_message(error);
  const Continuation same_session = continue_session(session, kMoreLen);
  EXPECT_EQ(same_session.cached_tokens, computed);
  kvi_session_release(session);
  close_engine(engine);

  engine = open_engine(model);
  session = session_with(engine, tokens);
  const Continuation cold = continue_session(session, kMoreLen);
  EXPECT_EQ(cold.cached_tokens, 0u);
  EXPECT_EQ(same_session.bits, cold.bits);
  kvi_session_release(session);
  close_engine(engine);

  const ChildResult child = continue_in_child(model, path, 16, kMoreLen);
  EXPECT_EQ(child.exit_code, 0);
  EXPECT_EQ(child.reason, KVI_SNAPSHOT_COMPLETE);
  EXPECT_EQ(child.num_tokens, tokens.size());
  EXPECT_EQ(child.num_kv_tokens, computed);
  EXPECT_EQ(child.cached_tokens, computed);
  EXPECT_EQ(child.bits, cold.bits);

  const ChildResult other_pages = continue_in_child(model, path, 32, kMoreLen);
  EXPECT_EQ(other_pages.exit_code, 0);
  EXPECT_EQ(other_pages.reason, KVI_SNAPSHOT_OTHER_LAYOUT);
  EXPECT_EQ(other_pages.num_tokens, tokens.size());
  EXPECT_EQ(other_pages.num_kv_tokens, 0u);
  EXPECT_EQ(other_pages.cached_tokens, 0u);
  EXPECT_EQ(other_pages.bits, cold.bits);
}

}  // namespace kvi
