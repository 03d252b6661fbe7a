// Whether this process is a forked child of the one that first used the library.
//
// Our threads do not exist in such a child, and locks may be held for ever: its calls are refused.
// This is the one state that belongs to the process: a page that the kernel wipes when it forks
// (MADV_WIPEONFORK). It lies in the library's own memory, so it is gone after dlclose.
//
// Thread-safe.
#pragma once

namespace kvi {

// The first call, in whatever process, says no, and arms the page.
bool in_forked_child() noexcept;

}  // namespace kvi
