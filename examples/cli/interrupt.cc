#include "interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>

#include "output.h"

namespace cli {
namespace {

std::mutex mutex;  // of the scope and what it says
Interrupt::Scope* current = nullptr;

}  // namespace

void Interrupt::install() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    for (int signal = 0; sigwait(&signals, &signal) == 0;) {
      std::lock_guard lock(mutex);
      if (current == nullptr || current->happened_) {
        [[maybe_unused]] ssize_t written = write(STDERR_FILENO, "\n", 1);
        std::_Exit(static_cast<int>(ExitCode::interrupted));
      }
      current->happened_ = true;
      current->on_interrupt_();
    }
  }).detach();
}

Interrupt::Scope::Scope(std::function<void()> on_interrupt)
    : on_interrupt_(std::move(on_interrupt)) {
  std::lock_guard lock(mutex);
  current = this;
}

Interrupt::Scope::~Scope() {
  std::lock_guard lock(mutex);
  current = nullptr;
}

bool Interrupt::Scope::happened() const {
  std::lock_guard lock(mutex);
  return happened_;
}

}  // namespace cli
