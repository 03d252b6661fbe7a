// kvinfer snapshot: what a saved session holds, and whether its file is whole. Needs no model.
#include <iomanip>
#include <iostream>
#include <memory>

#include "commands.h"
#include "output.h"

namespace cli {
namespace {

void print(const Json& object, bool as_json) {
  if (as_json) {
    print_json(object);
  } else {
    for (const auto& [key, value] : object.items()) {
      std::cout << std::left << std::setw(20) << key << " "
                << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    }
  }
  finish_output();
}

struct Snapshot {
  std::string file;
  bool json = false;

  void inspect() const {
    const kvi_snapshot_info info = kvinfer::inspect_snapshot(file);
    print({{"version", info.version},
           {"model_name", info.model_name},
           {"model_fingerprint", info.model_fingerprint},
           {"numerics_id", info.numerics_id},
           {"library_version", info.library_version},
           {"tokens", info.num_tokens},
           {"kv_tokens", info.num_kv_tokens},
           {"page_len", info.page_len},
           {"groups", info.num_groups},
           {"pages", info.num_pages},
           {"size_bytes", info.size_bytes}},
          json);
  }

  void verify() const {
    const kvi_snapshot_result result = kvinfer::verify_snapshot(file);
    const bool whole = result.reason == KVI_SNAPSHOT_COMPLETE;
    print({{"whole", whole},
           {"reason", kvinfer::snapshot_reason_name(result.reason)},
           {"text", result.text},
           {"tokens", result.num_tokens},
           {"kv_tokens", result.num_kv_tokens},
           {"pages", result.num_pages}},
          json);
    if (!whole) throw Failure(ExitCode::file, file + ": " + result.text);
  }

  void add_to(CLI::App& command, void (Snapshot::*run)() const,
              const std::shared_ptr<Snapshot>& self) {
    command.add_option("file", file, "A file that kvinfer run --save wrote")->required();
    command.add_flag("--json", json, "Write JSON");
    command.callback([self, run] { (*self.*run)(); });
  }
};

}  // namespace

void add_snapshot(CLI::App& app) {
  auto snapshot = std::make_shared<Snapshot>();
  CLI::App& command = *app.add_subcommand("snapshot", "Look into a saved session");
  command.require_subcommand(1);
  snapshot->add_to(*command.add_subcommand("inspect", "Say what its header says"),
                   &Snapshot::inspect, snapshot);
  snapshot->add_to(*command.add_subcommand("verify", "Read it all and check every checksum"),
                   &Snapshot::verify, snapshot);
}

}  // namespace cli
