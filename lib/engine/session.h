// One running text as its user holds it: tokens here, their KV pages in the engine's core.
//
// Used by one thread at a time: a second one gets BUSY, as does every call but info() while a request
// runs. Keeps the engine's core alive, not the Engine handle.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/options.h"
#include "engine/request.h"
#include "engine/scoring.h"
#include "engine/sequence_state.h"
#include "engine/session_snapshot.h"
#include "jinja/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

class EngineCore;
class PinnedPrefix;

struct InputText {
  std::string_view text;
  EncodeOptions encode;
};
using Part = std::variant<InputText, std::span<const TokenId>>;

class Session {
 public:
  static std::shared_ptr<Session> create(const std::shared_ptr<EngineCore>& core,
                                         const SessionOptions& options);
  // Throws as session_snapshot.h says.
  static std::shared_ptr<Session> load(const std::shared_ptr<EngineCore>& core,
                                       SnapshotSource source, const SessionLoadOptions& options,
                                       SessionLoad& result);
  ~Session();  // gives its pages back

  void append(std::span<const Part> parts);
  MessagesResult set_messages(const TemplateInput& conversation);
  void truncate(uint32_t num_tokens);
  std::shared_ptr<Session> fork();
  void suspend(TierId tier);
  void resume();  // begins to; the next request waits for what is on its way
  std::shared_ptr<PinnedPrefix> pin(const PinOptions& options);
  void save(SnapshotSink sink);
  std::vector<TokenId> tokens();
  SessionInfo info() const;  // any thread
  // user_handle: what Engine::wait names the request by; nullptr: it is never named.
  std::shared_ptr<Request> generate(GenerateOptions options, void* user_handle);
  // Scores the session's tokens from first on, and leaves it empty. Blocks.
  void score(size_t first, const ScoreOutput& out);
  void cancel_request();  // any thread; what release does first

 private:
  class Use;  // the session in the hands of one call

  // Gives the sequence back where it cannot be made.
  static std::shared_ptr<Session> make(const std::shared_ptr<EngineCore>& core,
                                       const std::shared_ptr<SequenceState>& sequence);
  Session(std::shared_ptr<EngineCore> core, std::shared_ptr<SequenceState> sequence);
  void check_fits(size_t num_tokens) const;

  const std::shared_ptr<EngineCore> core_;
  const std::shared_ptr<SequenceState> sequence_;  // shared with the core while a request runs
};

}  // namespace kvi
