// The commands of kvi_sim that measure the cache's core: memory, prefix, cache-ops, grid.
#pragma once

#include <CLI/CLI.hpp>

void add_memory_scenario(CLI::App& app);
void add_prefix_scenario(CLI::App& app);
void add_cache_ops_scenario(CLI::App& app);
void add_grid_scenario(CLI::App& app);
