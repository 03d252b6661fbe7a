// The commands of the program: each adds itself to the command line, and runs when it was chosen.
#pragma once

#include <CLI/CLI.hpp>

namespace cli {

void add_run(CLI::App& app);
void add_chat(CLI::App& app);
void add_inspect(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_plan(CLI::App& app);
void add_score(CLI::App& app);
void add_ppl(CLI::App& app);
void add_bench(CLI::App& app);
void add_snapshot(CLI::App& app);
void add_simulate(CLI::App& app);

}  // namespace cli
