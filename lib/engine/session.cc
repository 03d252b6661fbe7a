#include "engine/session.h"

#include <algorithm>

#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"
#include "engine/engine_core.h"
#include "engine/generation.h"
#include "engine/scoring.h"
#include "engine/validate.h"
#include "tokenizer/chat_prompt.h"

namespace kvi {

// Takes the session for one call, or throws BUSY; gives it back unless it went over to a request.
class Session::Use {
 public:
  explicit Use(const Session& session) : sequence_(*session.sequence_) {
    session.core_->check_open();
    SequenceOwner nobody = SequenceOwner::nobody;
    if (!sequence_.owner.compare_exchange_strong(nobody, SequenceOwner::user)) {
      throw Error(Status::BUSY,
                  nobody == SequenceOwner::request
                      ? "a request of this session is running; await or cancel it first"
                      : "the session is in use by another thread")
          .retryable();
    }
  }
  ~Use() {
    SequenceOwner user = SequenceOwner::user;
    if (!handed_over_) sequence_.owner.compare_exchange_strong(user, SequenceOwner::nobody);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  void hand_over() { handed_over_ = true; }

 private:
  SequenceState& sequence_;
  bool handed_over_ = false;
};

std::shared_ptr<Session> Session::make(const std::shared_ptr<EngineCore>& core,
                                       const std::shared_ptr<SequenceState>& sequence) {
  Undo abandon([&] { core->abandon(*sequence); });
  std::unique_ptr<Session> session(new Session(core, sequence));
  abandon.keep();  // it is the session's
  return session;
}

std::shared_ptr<Session> Session::create(const std::shared_ptr<EngineCore>& core,
                                         const SessionOptions& options) {
  std::shared_ptr<SequenceState> sequence = core->create_sequence(options);
  return make(core, sequence);
}

std::shared_ptr<Session> Session::load(const std::shared_ptr<EngineCore>& core,
                                       SnapshotSource source, const SessionLoadOptions& options,
                                       SessionLoad& result) {
  core->check_open();
  std::shared_ptr<SequenceState> sequence = load_sequence(*core, std::move(source), options,
                                                          result);
  return make(core, sequence);
}

Session::Session(std::shared_ptr<EngineCore> core, std::shared_ptr<SequenceState> sequence)
    : core_(std::move(core)), sequence_(std::move(sequence)) {}

Session::~Session() { core_->abandon(*sequence_); }

void Session::check_fits(size_t num_tokens) const {
  const uint32_t limit = core_->max_model_len();
  if (num_tokens > limit) {
    throw Error(Status::CONTEXT_FULL,
                concat("the session would hold ", num_tokens, " tokens; max_model_len is ", limit,
                       "; shorten the prompt or drop earlier turns"))
        .amounts(num_tokens, limit);
  }
}

void Session::append(std::span<const Part> parts) {
  Use use(*this);
  const int vocab_size = core_->model().config().vocab_size;
  std::vector<TokenId> added;
  for (const Part& part : parts) {
    if (const auto* tokens = std::get_if<std::span<const TokenId>>(&part)) {
      for (size_t i = 0; i < tokens->size(); ++i) {
        const TokenId token = (*tokens)[i];
        if (token < 0 || token >= vocab_size) {
          throw Error(
              Status::INVALID_ARGUMENT,
              concat("token ", i, " is ", token, "; the vocabulary has ids 0 to ", vocab_size - 1));
        }
      }
      added.insert(added.end(), tokens->begin(), tokens->end());
      continue;
    }
    const InputText& input = std::get<InputText>(part);
    EncodeOptions encode = input.encode;
    if (!sequence_->tokens.empty() || !added.empty()) {
      encode.start = TextStart::continued;
      if (encode.add_bos == AddBos::automatic) encode.add_bos = AddBos::no;
    }
    const std::vector<TokenId> tokens = core_->model().tokenizer().encode(input.text, encode);
    added.insert(added.end(), tokens.begin(), tokens.end());
  }
  check_fits(sequence_->tokens.size() + added.size());
  sequence_->tokens.insert(sequence_->tokens.end(), added.begin(), added.end());
  sequence_->num_tokens.store(static_cast<uint32_t>(sequence_->tokens.size()));
}

MessagesResult Session::set_messages(const TemplateInput& conversation) {
  Use use(*this);
  const LoadedModel& model = core_->model();
  const std::vector<TokenId> rendered = encode_chat(model.tokenizer(), model.chat_template(),
                                                    conversation);
  check_fits(rendered.size());
  std::vector<TokenId>& tokens = sequence_->tokens;
  const auto [differs, ignored] = std::mismatch(tokens.begin(), tokens.end(), rendered.begin(),
                                                rendered.end());
  MessagesResult result;
  result.kept_tokens = static_cast<uint32_t>(differs - tokens.begin());
  result.dropped_tokens = static_cast<uint32_t>(tokens.end() - differs);
  result.added_tokens = static_cast<uint32_t>(rendered.size()) - result.kept_tokens;
  if (result.dropped_tokens > 0) core_->truncate(*sequence_, result.kept_tokens);
  tokens = rendered;
  sequence_->num_tokens.store(static_cast<uint32_t>(tokens.size()));
  return result;
}

void Session::truncate(uint32_t num_tokens) {
  Use use(*this);
  if (num_tokens > sequence_->tokens.size()) {
    throw Error(Status::INVALID_ARGUMENT,
                concat("cannot truncate to ", num_tokens, " tokens; the session has ",
                       sequence_->tokens.size()));
  }
  core_->truncate(*sequence_, num_tokens);
}

std::shared_ptr<Session> Session::fork() {
  Use use(*this);
  return make(core_, core_->fork(*sequence_));
}

void Session::suspend(TierId tier) {
  Use use(*this);
  core_->suspend(*sequence_, tier);
}

void Session::resume() {
  Use use(*this);
  core_->resume(*sequence_);
}

std::shared_ptr<PinnedPrefix> Session::pin(const PinOptions& options) {
  Use use(*this);
  return core_->pin(*sequence_, options);
}

void Session::save(SnapshotSink sink) {
  Use use(*this);
  save_sequence(*core_, *sequence_, std::move(sink));
}

std::vector<TokenId> Session::tokens() {
  Use use(*this);
  return sequence_->tokens;
}

SessionInfo Session::info() const {
  SessionInfo info;
  info.num_tokens = sequence_->num_tokens.load();
  core_->describe(*sequence_, info);
  info.max_tokens = core_->max_model_len();
  info.busy = sequence_->owner.load() == SequenceOwner::request;
  return info;
}

std::shared_ptr<Request> Session::generate(GenerateOptions options, void* user_handle) {
  Use use(*this);
  validate(options, core_->model().config().vocab_size);
  if (sequence_->tokens.empty()) {
    throw Error(Status::INVALID_ARGUMENT, "the prompt is empty: the session holds no tokens");
  }
  auto request = std::make_shared<Request>(std::move(options));
  request->set_user_handle(user_handle);
  core_->submit(std::make_shared<Generation>(sequence_, request, core_->news(), core_->metrics(),
                                             core_->model().tokenizer(), core_->max_model_len()),
                request);
  use.hand_over();
  return request;
}

void Session::score(size_t first, const ScoreOutput& out) {
  Use use(*this);
  auto job = std::make_shared<Scoring>(sequence_, first, out);
  core_->submit(job, nullptr);
  use.hand_over();
  job->wait();
}

void Session::cancel_request() {
  if (std::shared_ptr<Request> request = core_->running_request(*sequence_))
    request->cancel(CancelMode::keep);
}

}  // namespace kvi
