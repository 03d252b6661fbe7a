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
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace kvi {

class EngineCore;
struct SequenceState;

struct TextPart {
  std::string_view text;
  EncodeOptions encode;
};
using Part = std::variant<TextPart, std::span<const TokenId>>;

class Session : public std::enable_shared_from_this<Session> {
 public:
  static std::shared_ptr<Session> create(std::shared_ptr<EngineCore> core);
  ~Session();  // gives its pages back

  void append(std::span<const Part> parts);
  MessagesResult set_messages(const TemplateInput& conversation);
  void truncate(uint32_t num_tokens);
  std::shared_ptr<Session> fork();
  std::vector<TokenId> tokens();
  SessionInfo info() const;  // any thread
  std::shared_ptr<Request> generate(GenerateOptions options);
  void cancel_request();  // any thread; what release does first

 private:
  explicit Session(std::shared_ptr<EngineCore> core);

  const std::shared_ptr<EngineCore> core_;
  const std::shared_ptr<SequenceState> sequence_;  // shared with the core while a request runs
};

}  // namespace kvi
