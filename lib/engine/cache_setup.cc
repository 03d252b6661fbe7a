#include "engine/cache_setup.h"

#include <algorithm>

#include "base/error.h"
#include "base/os_cpu.h"
#include "base/os_random.h"
#include "base/text.h"
#include "cache/disk_folder.h"
#include "cache/disk_store.h"
#include "cache/foreign_pages.h"
#include "cache/host_store.h"
#include "tensor/dtype.h"

namespace kvi {
namespace {

constexpr size_t kSecretBytes = 32;

std::vector<std::byte> make_secret() {
  std::vector<std::byte> secret(kSecretBytes);
  if (!fill_with_secret_bytes(secret)) {
    throw Error(Status::IO,
                "the system gave no random bytes for the cache's secret; set cache_secret");
  }
  return secret;
}

std::vector<TierGroup> tier_groups(const std::vector<LayerGroup>& groups) {
  std::vector<TierGroup> result;
  for (const LayerGroup& group : groups) {
    result.push_back({group.layout.page_bytes, group.layout.page_len});
  }
  return result;
}

// More than there is would be found out only as the pages come into use, by a process that the system ends.
void check_fits_memory(const char* name, uint64_t num_bytes, uint64_t memory_bytes) {
  if (num_bytes <= memory_bytes) return;
  throw Error(Status::INVALID_ARGUMENT, concat(name, " is ", num_bytes, " and this machine has ",
                                               memory_bytes, " bytes of memory; lower it"))
      .amounts(num_bytes, memory_bytes);
}

void add_host_tier(const LoadedModel& model, const EngineOptions& options,
                   const std::vector<LayerGroup>& groups, CacheOptions& cache) {
  Backend& backend = model.backend();
  cache.host = std::make_shared<HostStore>(
      tier_groups(groups), options.host_cache_bytes,
      [&](uint64_t num_bytes) { return backend.reserve_host_pages(num_bytes); });
  cache.host_bytes = options.host_cache_bytes;
}

void add_disk_tier(const EngineOptions& options, const std::vector<LayerGroup>& groups,
                   CacheOptions& cache) {
  const std::shared_ptr<FileSystem> files = os_file_system();
  const Digest identity = root_digest(cache.identity);
  const IdentityParts parts = identity_parts(cache.identity);
  try {
    cache.disk = DiskStore::open({.folder = options.disk_cache_folder,
                                  .capacity_bytes = options.disk_cache_bytes,
                                  .identity = identity,
                                  .groups = tier_groups(groups),
                                  .parts = parts},
                                 files, steady_clock());
    cache.disk_bytes = options.disk_cache_bytes;
    cache.foreign = std::make_shared<ForeignPages>(options.disk_cache_folder, identity, parts,
                                                   files, steady_clock());
  } catch (const Error& error) {
    if (error.status() != Status::BUSY) throw;
    cache.disk_missing = error.message();
    log_message(options.log, LogLevel::warning, cache.disk_missing);
    return;
  }
  // Tenants find their prefixes again after a restart.
  const std::array<uint8_t, 32> secret = folder_secret(*files, options.disk_cache_folder);
  const auto bytes = std::as_bytes(std::span(secret));
  cache.secret.assign(bytes.begin(), bytes.end());
}

}  // namespace

std::string numerics_id(const LoadedModel& model, const EngineOptions& options) {
  const bool is_exact = options.precision == Precision::f32_activations;
  return concat(model.backend().info().numerics_id, is_exact ? "/f32" : "/int8");
}

std::string describe_layouts(const ModelConfig& config, const std::vector<LayerGroup>& groups) {
  std::string text;
  for (const LayerGroup& group : groups) {
    const PageLayout& layout = group.layout;
    text += concat("group window ", group.window, " page_len ", layout.page_len, " bytes ",
                   layout.page_bytes, " rank ", layout.rank, "\n");
    for (const Plane& plane : layout.planes) {
      text += concat(" layer ", plane.layer, " role ", static_cast<int>(plane.role), " heads ",
                     plane.first_head, "+", plane.num_heads, " dim ", plane.dim, " ",
                     dtype_name(plane.dtype), " at ", plane.offset, "/", plane.head_stride, "/",
                     plane.slot_stride, "/", plane.dim_stride, "\n");
    }
  }
  return concat(text, "context ", config.context_len);
}

CacheOptions cache_options_for(const LoadedModel& model, const EngineOptions& options,
                               const std::vector<LayerGroup>& groups) {
  // A device's memory is its own; where it is the host's, both come out of the same.
  const BackendInfo& device = model.backend().info();
  check_fits_memory("kv_budget_bytes", options.kv_budget_bytes, device.memory_bytes);
  check_fits_memory("kv_budget_max_bytes", options.kv_budget_max_bytes, device.memory_bytes);
  check_fits_memory("host_cache_bytes", options.host_cache_bytes, total_memory_bytes());
  CacheOptions cache;
  cache.budget_bytes = options.kv_budget_bytes;
  cache.range_bytes =
      device.memory_bytes;  // addresses cost nothing: the budget may be raised up to it
  cache.shared_budget = options.shared_budget;
  cache.prefix_caching = options.prefix_caching;
  cache.eviction_policy = options.eviction_policy;
  cache.tenant_share = options.tenant_share;
  cache.num_events = options.num_cache_events;
  cache.identity = {.model = model.fingerprint(),
                    .layout = describe_layouts(model.config(), groups),
                    .numerics = numerics_id(model, options),
                    .adapter = ""};
  if (options.host_cache_bytes > 0) add_host_tier(model, options, groups, cache);
  if (options.disk_cache_bytes > 0) add_disk_tier(options, groups, cache);
  if (!options.cache_secret.empty()) cache.secret = options.cache_secret;
  if (cache.secret.empty()) cache.secret = make_secret();
  return cache;
}

}  // namespace kvi
