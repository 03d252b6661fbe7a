#ifndef KVINFER_KVINFER_H_
#define KVINFER_KVINFER_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Every status: X(name, value, what it means). Values are pinned for ever; new ones come at the end. */
#define KVI_STATUS_MAP(X)                                                                        \
  X(OK, 0, "success")                                                                            \
  X(INVALID_ARGUMENT, 1, "an argument is outside what the function accepts")                     \
  X(INVALID_STATE, 2, "the object is not in a state that allows the call")                       \
  X(NOT_FOUND, 3, "the named file, tensor or object does not exist")                             \
  X(IO, 4, "the operating system reported an input/output error")                                \
  X(CORRUPT, 5, "a file or buffer contradicts its own format")                                   \
  X(UNSUPPORTED, 6, "well-formed, but not supported by this build or machine")                   \
  X(OUT_OF_MEMORY, 7, "the operating system refused memory")                                     \
  X(EXHAUSTED, 8, "a configured budget (KV pages, queue) is used up; retry when load drops")     \
  X(CONTEXT_FULL, 9, "the tokens do not fit the context length")                                 \
  X(BUSY, 10, "the object is in use by another thread or request")                               \
  X(TIMEOUT, 11, "the time given to wait has passed")                                            \
  X(CANCELLED, 12, "the work was cancelled by its owner")                                        \
  X(CLOSED, 13, "the engine has been closed")                                                    \
  X(BUFFER_TOO_SMALL, 14, "the output does not fit the buffer; the needed size is reported")     \
  X(FORKED, 15, "called in a forked child; the handle belongs to the parent process")            \
  X(DEVICE_LOST, 16, "the device failed for good; destroy the engine and open another")          \
  X(INTERNAL, 17, "a bug in libkvinfer; please report it")

typedef int32_t kvi_status;
enum {
#define KVI_STATUS_ENUM(name, value, text) KVI_##name = value,
  KVI_STATUS_MAP(KVI_STATUS_ENUM)
#undef KVI_STATUS_ENUM
};

#ifdef __cplusplus
}
#endif

#endif /* KVINFER_KVINFER_H_ */
