// libFuzzer target: any bytes as a GGUF file open as a sound model or throw kvi::Error.

#include "base/error.h"
#include "support/exercise_model.h"
#include "support/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  kvi::MemoryFile file;
  file.write({reinterpret_cast<const char*>(bytes), size});
  try {
    kvi::exercise_model(*kvi::ModelFile::open(file.path()));
  } catch (const kvi::Error&) {
  }
  return 0;
}
