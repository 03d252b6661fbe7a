// Ctrl-C: the first ends what is running in good order, a second one the program.
//
// SIGINT is blocked everywhere and received by a thread of our own, so that no code runs in a signal
// handler. Without a Scope the first Ctrl-C ends the program.
#pragma once

#include <functional>

namespace cli {

class Interrupt {
 public:
  static void install();  // before any other thread starts

  // While it lives, the first Ctrl-C calls on_interrupt, on another thread.
  class Scope {
   public:
    explicit Scope(std::function<void()> on_interrupt = [] {});
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    bool happened() const;

   private:
    friend class Interrupt;
    const std::function<void()> on_interrupt_;
    bool happened_ = false;
  };
};

}  // namespace cli
