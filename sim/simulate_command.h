// The simulator's own options on the command line: what kvi_sim does without a subcommand.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

// Returns what runs it, once the command line is read: false where a check failed.
std::function<bool()> add_simulation(CLI::App& app);
