// Writes pages into a disk tier until it is killed, for disk_crash_test.cc.
//   disk_writer FOLDER SEED      prints one character once every slot is in use
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

#include "support/crash_store.h"

int main(int num_arguments, char** arguments) {
  if (num_arguments != 3) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const uint64_t seed = std::strtoull(arguments[2], nullptr, 10);
  auto store = kvi::DiskStore::open(kvi::crash_options(arguments[1]), kvi::os_file_system(),
                                    kvi::steady_clock());
  std::set<std::pair<int, kvi::SlotId>> used;
  store->scan([&](kvi::SlotId slot, const kvi::PageRecord& record) {
    used.insert({record.group, slot});
  });

  uint64_t number = 0;
  const auto write = [&](int group, kvi::SlotId slot) {
    const kvi::TestPage page(kvi::random_bits(seed, ++number), group);
    const uint64_t page_bytes = kvi::kCrashPageBytes[group];
    if (!store->write(slot, page.record(), page.bytes(page_bytes))) std::_Exit(3);
  };
  for (int group : {0, 1}) {
    for (kvi::SlotId slot = 0; slot < kvi::kCrashSlots; ++slot) {
      if (!used.contains({group, slot})) write(group, slot);
    }
  }
  if (::write(STDOUT_FILENO, ".", 1) != 1) return 4;
  for (;;) {
    const uint64_t bits = kvi::random_bits(seed, ++number);
    write(bits % 2, static_cast<kvi::SlotId>(bits / 2 % kvi::kCrashSlots));
  }
}
