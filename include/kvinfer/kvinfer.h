/* kvinfer.h - the C interface of libkvinfer: large language models inside your own process.
 *
 * This file is the manual. A first program is kvi_engine_open() + kvi_generate(); a service uses
 * kvi_session_generate() + kvi_engine_wait().
 *
 * CONVENTIONS
 *  1. Handles are opaque. Every open/create/fork returns one reference, given back by the matching
 *     release. release(NULL) does nothing; release may be called from any thread, in any order and
 *     inside callbacks, and never waits for work to end. A handle keeps what it depends on alive:
 *     a session its engine, an engine its model.
 *  2. Functions return a kvi_status. Where more can be said they take a kvi_error ** (or NULL), which
 *     is written only on failure; release it with kvi_error_release. Outputs are written only on
 *     success, sizes "needed" also with KVI_BUFFER_TOO_SMALL.
 *  3. Option and info structs begin with struct_size, and are prepared by their _init function, which
 *     writes the defaults stated here: kvi_engine_options o; kvi_engine_options_init(&o, sizeof o).
 *     Zero is a value, never "default". NULL options mean the defaults. Structs grow at the end only:
 *     what a smaller (older) struct lacks reads as its default; non-zero bytes past what this library
 *     knows are KVI_UNSUPPORTED. Results are written up to the struct_size that the caller prepared.
 *  4. Inputs are copied before a function returns. Text in is UTF-8 as (pointer, size in bytes), where
 *     KVI_ZERO_TERMINATED is accepted as size. Text out is (buffer, capacity, needed): needed counts
 *     bytes without a terminator; a NUL is added where there is room for it, and with too small a
 *     capacity nothing is written but needed. A NULL buffer with capacity 0 asks for the size (KVI_OK);
 *     needed may be NULL where there is a buffer. Arrays out likewise, with their count.
 *  5. Threads: model, engine and request handles may be used from any threads at once. A session (and a
 *     decoder) is used by one thread at a time: a second one gets KVI_BUSY, never a race.
 *  6. Nothing is truncated silently: a prompt that does not fit is KVI_CONTEXT_FULL or KVI_EXHAUSTED with
 *     needed and available amounts in the error.
 *  7. No exception, signal handler, exit or output to stdout/stderr leaves the library. In a child forked
 *     after the library was first used, calls return KVI_FORKED, and release does nothing but for errors.
 *
 * The interface is not frozen: SONAME 0 until the SDKs have been built on it.
 */
#ifndef KVINFER_KVINFER_H_
#define KVINFER_KVINFER_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define KVI_API __declspec(dllimport)
#define KVI_CALL __cdecl
#else
#define KVI_API __attribute__((visibility("default")))
#define KVI_CALL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ------------------------------------------------------------------------------------ */

/* Every status: X(name, value, what it means). Values are pinned for ever; new ones come at the end. */
#define KVI_STATUS_MAP(X)                                                                    \
  X(OK, 0, "success")                                                                        \
  X(INVALID_ARGUMENT, 1, "an argument is outside what the function accepts")                 \
  X(INVALID_STATE, 2, "the object is not in a state that allows the call")                   \
  X(NOT_FOUND, 3, "the named file, key or object does not exist")                            \
  X(IO, 4, "the operating system reported an input/output error")                            \
  X(CORRUPT, 5, "a file or buffer contradicts its own format")                               \
  X(UNSUPPORTED, 6, "well-formed, but not supported by this build or machine")               \
  X(OUT_OF_MEMORY, 7, "the operating system refused memory")                                 \
  X(EXHAUSTED, 8, "a configured budget (KV pages, queue) is used up; retry when load drops") \
  X(CONTEXT_FULL, 9, "the tokens do not fit the context length")                             \
  X(BUSY, 10, "the object is in use by another thread or request")                           \
  X(TIMEOUT, 11, "the time given to wait has passed")                                        \
  X(CANCELLED, 12, "the work was cancelled by its owner")                                    \
  X(CLOSED, 13, "the engine has been closed")                                                \
  X(BUFFER_TOO_SMALL, 14, "the output does not fit the buffer; the needed size is reported") \
  X(FORKED, 15, "called in a forked child; the handle belongs to the parent process")        \
  X(DEVICE_LOST, 16, "the device failed for good; release the engine and open another")      \
  X(INTERNAL, 17, "a bug in libkvinfer; please report it")

typedef int32_t kvi_status;
enum {
#define KVI_STATUS_ENUM(name, value, text) KVI_##name = value,
  KVI_STATUS_MAP(KVI_STATUS_ENUM)
#undef KVI_STATUS_ENUM
};

/* "CONTEXT_FULL" for KVI_CONTEXT_FULL; "UNKNOWN" for a value outside the list. Static text, never NULL. */
KVI_API const char* KVI_CALL kvi_status_name(kvi_status status);

#define KVI_ZERO_TERMINATED ((size_t)-1) /* as a text's size: it ends at its first NUL byte */
#define KVI_AUTO UINT32_MAX       /* where an option's comment says so: chosen by the library */
#define KVI_AUTO_BYTES UINT64_MAX /* the same, for numbers of bytes */
#define KVI_FOREVER UINT32_MAX    /* as a timeout in milliseconds */

typedef struct kvi_error kvi_error;
typedef struct kvi_model kvi_model;
typedef struct kvi_decoder kvi_decoder;
typedef struct kvi_engine kvi_engine;
typedef struct kvi_session kvi_session;
typedef struct kvi_request kvi_request;
typedef struct kvi_budget kvi_budget;
typedef struct kvi_prefix kvi_prefix;

/* ---- version ----------------------------------------------------------------------------------- */

#define KVI_VERSION_MAJOR 0
#define KVI_VERSION_MINOR 1
#define KVI_VERSION_PATCH 0

/* The version of the library that is loaded: major << 16 | minor << 8 | patch. Any thread. */
KVI_API uint32_t KVI_CALL kvi_version(void);

/* Whether this build has a feature: "cpu", "cuda", "gguf", "safetensors". 1 or 0 (also for NULL). Any thread. */
KVI_API int32_t KVI_CALL kvi_has_feature(const char* name);

/* ---- error ------------------------------------------------------------------------------------- */
/* An error belongs to its caller and to one thread at a time. All getters accept NULL: no error. */

KVI_API kvi_status KVI_CALL kvi_error_code(const kvi_error* error); /* KVI_OK for NULL */
/* What went wrong, where and what to do: UTF-8, never NULL, valid until the error is released. */
KVI_API const char* KVI_CALL kvi_error_message(const kvi_error* error);
/* 1 when the same call may succeed later without any change. */
KVI_API int32_t KVI_CALL kvi_error_retryable(const kvi_error* error);
/* For exhaustion and sizes, in the unit that the message names, else 0: what was needed, */
KVI_API uint64_t KVI_CALL kvi_error_needed(const kvi_error* error);
KVI_API uint64_t KVI_CALL kvi_error_available(const kvi_error* error); /* what there was */
/* Gives the error back; its message is not valid any more. */
KVI_API void KVI_CALL kvi_error_release(kvi_error* error);

/* ---- log --------------------------------------------------------------------------------------- */

enum { KVI_LOG_ERROR = 0, KVI_LOG_WARNING = 1, KVI_LOG_INFO = 2, KVI_LOG_DEBUG = 3 };

/* Receives the log of one model or engine: never prompt text. Called from any of our threads, with no
 * lock held; it must not call back into the library except for release functions: what would wait for the
 * engine answers INVALID_STATE there. */
typedef void(KVI_CALL* kvi_log_fn)(void* user, int32_t level, const char* message);
/* Called once, when the library will not use user any more. */
typedef void(KVI_CALL* kvi_destroy_fn)(void* user);

/* ---- device ------------------------------------------------------------------------------------ */

/* What computes, and how kvi_model_options finds it. */
enum {
  KVI_BACKEND_OF_DEVICE =
      0,                /* device counts the devices of all backends, as kvi_device_count does */
  KVI_BACKEND_AUTO = 1, /* the first GPU that can be used, else the CPU; device is ignored */
  KVI_BACKEND_CPU = 2,  /* device is 0 */
  KVI_BACKEND_CUDA = 3  /* device counts NVIDIA's GPUs from 0: compute capability 8.0 and up */
};

typedef struct kvi_device_info {
  uint32_t struct_size;
  /* CPU: the default number of threads: physical cores within affinity and cgroup */
  uint32_t num_threads;
  uint64_t memory_bytes; /* in all */
  char name[64];         /* "cpu"; a GPU's own name */
  char arch
      [64]; /* the kernels in use: "scalar", "avx2", "avx_vnni", "avx512_vnni", "amx_int8", "sm_90" */
  int32_t backend;   /* KVI_BACKEND_CPU or KVI_BACKEND_CUDA */
  int32_t supported; /* 1; 0: it is there, and opening a model on it is UNSUPPORTED and says why */
} kvi_device_info;

KVI_API kvi_status KVI_CALL kvi_device_info_init(kvi_device_info* info, size_t struct_size);
/* How many devices there are, at least 1: device 0 is the CPU, then come the GPUs that a driver shows, in its order.
 * Looks for a driver each time, and keeps it in the process once one is found. Any thread. */
KVI_API uint32_t KVI_CALL kvi_device_count(void);
/* Describes a device. index: below kvi_device_count(), else KVI_NOT_FOUND. Any thread. */
KVI_API kvi_status KVI_CALL kvi_device_get_info(uint32_t index, kvi_device_info* info,
                                                kvi_error** error);

/* ---- model ------------------------------------------------------------------------------------- */

enum {
  KVI_CONTINUE = 0, /* what callbacks answer: go on */
  KVI_STOP = 1,     /* end here and keep what was made */
  KVI_CANCEL = 2    /* end here and roll back */
};

enum {
  KVI_LOAD_WEIGHTS = 0, /* everything: engines can be created */
  KVI_LOAD_METADATA = 1 /* header and tokenizer only: inspect, tokenize, plan */
};

/* Progress of loading: bytes of weights done and in all. Answers KVI_CONTINUE, or KVI_CANCEL to abort with
 * KVI_CANCELLED. Called on the thread that opens, a hundred times or so. */
typedef int32_t(KVI_CALL* kvi_progress_fn)(void* user, uint64_t done_bytes, uint64_t total_bytes);

typedef struct kvi_model_options {
  uint32_t struct_size;
  int32_t load;               /* KVI_LOAD_WEIGHTS */
  uint32_t device;            /* 0: the CPU; see backend */
  uint32_t num_threads;       /* that load and repack weights; KVI_AUTO: as the device's default */
  kvi_progress_fn progress;   /* NULL */
  void* progress_user;        /* NULL */
  kvi_log_fn log;             /* NULL: no log */
  void* log_user;             /* NULL */
  kvi_destroy_fn log_destroy; /* NULL; called for log_user, also when opening fails */
  int32_t backend;            /* KVI_BACKEND_OF_DEVICE */
} kvi_model_options;

typedef struct kvi_model_info {
  uint32_t struct_size;
  /* 1: engines can run it; 0: KVI_MODEL_UNSUPPORTED_REASON says what prevents it */
  uint32_t supported;
  uint32_t num_layers;
  uint32_t embedding_len;
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t head_dim;
  uint32_t vocab_size;
  uint32_t context_len; /* tokens that the model was made for */
  uint32_t window;      /* sliding-window width in tokens of the local layers; 0: none are local */
  uint32_t num_window_layers;
  int32_t bos_token; /* -1: none */
  int32_t eos_token; /* -1: none */
  uint32_t has_chat_template;
  uint64_t num_parameters;
  uint64_t file_weights_bytes; /* in the file */
  uint64_t weights_bytes;      /* in memory, as this library arranges them */
  /* of all layers, in 16-bit K and V; local layers stop growing at their window */
  uint64_t kv_bytes_per_token;
} kvi_model_info;

/* Texts about a model, for kvi_model_text. */
enum {
  KVI_MODEL_ARCHITECTURE = 0, /* "llama", "gemma3", ... */
  KVI_MODEL_NAME = 1,         /* the file's own name for it, or "" */
  KVI_MODEL_FORMAT = 2,       /* "gguf" or "safetensors" */
  /* 64 hex digits: SHA-256 over header, tensor list and samples of every tensor */
  KVI_MODEL_FINGERPRINT = 3,
  KVI_MODEL_UNSUPPORTED_REASON = 4, /* "" where supported */
  KVI_MODEL_CHAT_TEMPLATE = 5       /* Jinja source, "" where there is none */
};

KVI_API kvi_status KVI_CALL kvi_model_options_init(kvi_model_options* options, size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_model_info_init(kvi_model_info* info, size_t struct_size);

/* Opens a model: a GGUF file, a .safetensors file (config.json and tokenizer.json lie beside it), or a folder that
 * holds one model: one .gguf file, or config.json, tokenizer.json and safetensors in one file or several.
 * The weights are read and repacked, and owned from then on: the file may change or go. Peak memory is the
 * final size plus a part of a tensor per thread (kvi_plan states it). Blocks until done.
 *  path, path_size  UTF-8
 *  options          NULL: the defaults
 *  out              the model, one reference
 * Errors: INVALID_ARGUMENT (an option, named; a folder with several models), NOT_FOUND, IO, CORRUPT (names the place
 * in the file), UNSUPPORTED (names the architecture or type; not with KVI_LOAD_METADATA, where kvi_model_info says
 * it; and a GPU without a driver, or too old), NOT_FOUND also for a device that is not there, OUT_OF_MEMORY,
 * DEVICE_LOST, CANCELLED. Any thread. */
KVI_API kvi_status KVI_CALL kvi_model_open(const char* path, size_t path_size,
                                           const kvi_model_options* options, kvi_model** out,
                                           kvi_error** error);
/* Gives the reference back; engines, sessions and decoders keep what they need. Any thread. */
KVI_API void KVI_CALL kvi_model_release(kvi_model* model);

/* Describes a model. Any thread. */
KVI_API kvi_status KVI_CALL kvi_model_get_info(const kvi_model* model, kvi_model_info* info,
                                               kvi_error** error);
/* A text about a model: which is one of KVI_MODEL_*. Errors: BUFFER_TOO_SMALL. Any thread. */
KVI_API kvi_status KVI_CALL kvi_model_text(const kvi_model* model, int32_t which, char* buffer,
                                           size_t capacity, size_t* needed, kvi_error** error);
/* How many keys the metadata of the model's file has; 0 for NULL. Any thread. */
KVI_API size_t KVI_CALL kvi_model_metadata_count(const kvi_model* model);
/* The key at index, in alphabetical order. Errors: NOT_FOUND (no such index), BUFFER_TOO_SMALL. Any thread. */
KVI_API kvi_status KVI_CALL kvi_model_metadata_key(const kvi_model* model, size_t index,
                                                   char* buffer, size_t capacity, size_t* needed,
                                                   kvi_error** error);
/* A key's value as JSON; a long array is cut to its first 8 elements and a string that says how many follow.
 * Errors: NOT_FOUND (no such key), INVALID_ARGUMENT (an empty key), BUFFER_TOO_SMALL. Any thread. */
KVI_API kvi_status KVI_CALL kvi_model_metadata_value(const kvi_model* model, const char* key,
                                                     size_t key_size, char* buffer, size_t capacity,
                                                     size_t* needed, kvi_error** error);

/* ---- tokenizer --------------------------------------------------------------------------------- */

enum {
  KVI_BOS_AUTO = 0, /* as the model wishes; never a second one */
  KVI_BOS_YES = 1,
  KVI_BOS_NO = 2
};
enum {
  KVI_SPECIAL_NO = 0, /* text never becomes a control token; decoding leaves control tokens out */
  KVI_SPECIAL_YES = 1 /* "<|im_end|>" and the like are recognised, or rendered */
};

/* Text to token ids.
 *  text, text_size   UTF-8; ill-formed bytes are INVALID_ARGUMENT with the offset
 *  add_bos           KVI_BOS_*
 *  parse_special     KVI_SPECIAL_*: KVI_SPECIAL_NO for anything that a user typed
 *  tokens, capacity  out; NULL with 0 asks for the count
 *  count             tokens needed (also with BUFFER_TOO_SMALL)
 * Errors: INVALID_ARGUMENT, BUFFER_TOO_SMALL, UNSUPPORTED (the model has no known tokenizer). Any thread. */
KVI_API kvi_status KVI_CALL kvi_tokenize(const kvi_model* model, const char* text, size_t text_size,
                                         int32_t add_bos, int32_t parse_special, int32_t* tokens,
                                         size_t capacity, size_t* count, kvi_error** error);
/* Token ids to text. The bytes of the tokens one after another: a cut inside a code point leaves ill-formed UTF-8;
 * streams use a decoder. render_special: KVI_SPECIAL_*. Errors: INVALID_ARGUMENT (an id outside the vocabulary),
 * BUFFER_TOO_SMALL. Any thread. */
KVI_API kvi_status KVI_CALL kvi_detokenize(const kvi_model* model, const int32_t* tokens,
                                           size_t count, int32_t render_special, char* buffer,
                                           size_t capacity, size_t* needed, kvi_error** error);

/* An incremental decoder: whole code points, as tokens come. It keeps the model alive. render_special: KVI_SPECIAL_*.
 * Errors: INVALID_ARGUMENT, UNSUPPORTED (the model has no known tokenizer), OUT_OF_MEMORY. Any thread. */
KVI_API kvi_status KVI_CALL kvi_decoder_create(kvi_model* model, int32_t render_special,
                                               kvi_decoder** out, kvi_error** error);
/* Adds a token; *text is what it completes, valid until the decoder's next call, *text_size its bytes, perhaps 0.
 * Errors: INVALID_ARGUMENT (an id outside the vocabulary), BUSY (another thread uses the decoder). */
KVI_API kvi_status KVI_CALL kvi_decoder_push(kvi_decoder* decoder, int32_t token, const char** text,
                                             size_t* text_size, kvi_error** error);
/* Ends the text: U+FFFD for an unfinished code point, else nothing. The decoder then starts anew. *text and *text_size
 * as above. Errors: BUSY. */
KVI_API kvi_status KVI_CALL kvi_decoder_finish(kvi_decoder* decoder, const char** text,
                                               size_t* text_size, kvi_error** error);
/* Frees the decoder, and the text that it gave out. Any thread, once no call uses it. */
KVI_API void KVI_CALL kvi_decoder_release(kvi_decoder* decoder);

/* A turn of a conversation. In an array, elements are messages[0].struct_size bytes apart. */
typedef struct kvi_message {
  uint32_t struct_size;
  const char* role;    /* NULL: "system", "user", "assistant", ...; must not be empty */
  size_t role_size;    /* KVI_ZERO_TERMINATED; with that, NULL is the empty text */
  const char* content; /* NULL */
  size_t content_size; /* KVI_ZERO_TERMINATED, likewise */
} kvi_message;
KVI_API kvi_status KVI_CALL kvi_message_init(kvi_message* message, size_t struct_size);

/* Renders a conversation with the model's chat template (a sandboxed Jinja).
 *  messages, num_messages
 *  arguments, arguments_size  further template variables as a JSON object, or NULL; "add_generation_prompt" is true
 *                             unless given
 * Errors: UNSUPPORTED (no template, or a construct or limit, named with its line), INVALID_ARGUMENT (an empty role,
 * ill-formed UTF-8 or JSON; what the template itself refuses, in its words), BUFFER_TOO_SMALL. Any thread. */
KVI_API kvi_status KVI_CALL kvi_apply_template(const kvi_model* model, const kvi_message* messages,
                                               size_t num_messages, const char* arguments,
                                               size_t arguments_size, char* buffer, size_t capacity,
                                               size_t* needed, kvi_error** error);

/* ---- budget ------------------------------------------------------------------------------------ */
/* A budget that engines of one device share: each leases memory for KV pages from it and gives back what it only
 * caches when another is short. Handles may be used from any thread. */

typedef struct kvi_budget_info {
  uint32_t struct_size;
  uint32_t num_engines;
  uint64_t limit_bytes;
  uint64_t leased_bytes; /* above the limit for a while after that was lowered */
} kvi_budget_info;
KVI_API kvi_status KVI_CALL kvi_budget_info_init(kvi_budget_info* info, size_t struct_size);

/* Creates a budget. Errors: INVALID_ARGUMENT (0 bytes, or more than addresses allow), OUT_OF_MEMORY. Any thread. */
KVI_API kvi_status KVI_CALL kvi_budget_create(uint64_t limit_bytes, kvi_budget** out,
                                              kvi_error** error);
/* Changes the limit. Engines that hold more give back what they can between their steps.
 * Errors: INVALID_ARGUMENT. Any thread. */
KVI_API kvi_status KVI_CALL kvi_budget_set_limit(kvi_budget* budget, uint64_t limit_bytes,
                                                 kvi_error** error);
KVI_API kvi_status KVI_CALL kvi_budget_get_info(kvi_budget* budget, kvi_budget_info* info,
                                                kvi_error** error);
/* Gives the reference back; engines keep the budget. Any thread. */
KVI_API void KVI_CALL kvi_budget_release(kvi_budget* budget);

/* ---- engine ------------------------------------------------------------------------------------ */

enum {
  /* fast: on the CPU quantized weights meet activations in int8 per 32 values; on a GPU activations are f16 or bf16, and
   * the last bits of a result depend on how many tokens a step has */
  KVI_ACTIVATIONS_INT8 = 0,
  KVI_ACTIVATIONS_F32 = 1 /* the exact path, slower; everywhere the same bits whatever else runs */
};

typedef struct kvi_engine_options {
  uint32_t struct_size;
  /* KVI_AUTO: the model's context; the most tokens that one session may hold */
  uint32_t max_model_len;
  uint32_t max_sequences; /* 16: requests that run at once; more wait */
  /* 512: tokens of one step; a longer prompt is prefilled in chunks of it */
  uint32_t max_batch_tokens;
  /* 1024: that may wait, beside those for whom one of these places is free; more are EXHAUSTED */
  uint32_t max_queued;
  uint32_t page_len;    /* 16: tokens of a KV page; a power of two, 16 to 256 */
  uint32_t num_threads; /* KVI_AUTO: as the device's default; at most 256 */
  int32_t activations;  /* KVI_ACTIVATIONS_INT8 */
  /* 1 GiB: KV pages never take more; memory is taken as pages are first used. At most the machine's memory, like
   * the two other amounts of memory below */
  uint64_t kv_budget_bytes;
  kvi_log_fn log;             /* NULL: no log */
  void* log_user;             /* NULL */
  kvi_destroy_fn log_destroy; /* NULL; called for log_user, also when creation fails */
  /* 0: the budget stays as it is; else it grows up to this, by kv_grow_factor each time that pages in use take
   * kv_grow_at of it */
  uint64_t kv_budget_max_bytes;
  double kv_grow_at;     /* 0.8, from 0 to 1 */
  double kv_grow_factor; /* 1.5, above 1 */
  /* NULL: none. With one, kv_budget_bytes is the most that this engine takes of it */
  kvi_budget* shared_budget;
  uint32_t
      prefix_caching; /* 1: what was computed is found again by later prompts that begin with it */
  /* 0: how many cache events are kept for kvi_cache_events; older ones are lost */
  uint32_t cache_events;
  /* NULL: "cost"; else "lru", "lfu", "combined" or "cost": which cached pages go first */
  const char* eviction_policy;
  /* 0.5; above 0, at most 1. When pages must be evicted and eviction_policy and bands name one of a tenant within this
   * share of the budget, a tenant whose cached pages take more loses one in its place: that was idle for the longest
   * time */
  double tenant_share;
  /* NULL: the secret in disk_cache_folder; without a disk tier a random one. Keys of prefixes are made with it, so that
   * tenants cannot find each other's. Give the same bytes after a restart, or nothing on the disk is found */
  const void* cache_secret;
  size_t cache_secret_size; /* 0, which is no secret given */
  /* 0: no host tier. Never exceeded. At least one page of each layer group */
  uint64_t host_cache_bytes;
  /* 0: no disk tier. Never exceeded, by all page files in the folder together. At least one page of each layer group */
  uint64_t disk_cache_bytes;
  /* NULL; UTF-8, zero-terminated. The last level is made if it is missing; what is above it must exist. One engine owns
   * a folder: a second one runs without its disk tier, and logs a warning. Pages go there once no session holds them */
  const char* disk_cache_folder;
} kvi_engine_options;

typedef struct kvi_stats {
  uint32_t struct_size;
  uint32_t num_sessions;
  uint32_t num_running; /* requests that have one of the max_sequences places */
  /* That have none yet, also those who take a free one with the next step or wait for memory: at most max_queued and
   * the places that are free */
  uint32_t num_queued;
  uint64_t requests_finished; /* since the engine was created, for whatever reason */
  uint64_t requests_failed;   /* of these, with KVI_FINISH_ERROR */
  uint64_t prefill_tokens;    /* computed */
  uint64_t generated_tokens;
  uint64_t num_steps;
  uint64_t kv_budget_bytes;
  uint64_t kv_used_bytes; /* in pages that sessions hold */
  uint64_t kv_peak_bytes;
  uint64_t scratch_bytes;
  uint64_t weights_bytes;
} kvi_stats;

KVI_API kvi_status KVI_CALL kvi_engine_options_init(kvi_engine_options* options,
                                                    size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_stats_init(kvi_stats* stats, size_t struct_size);

/* Creates an engine: a scheduler with its thread, its KV pages and its workers. Several may share a model.
 * Errors: INVALID_ARGUMENT (names the option), INVALID_STATE (the model was opened with KVI_LOAD_METADATA),
 * UNSUPPORTED, EXHAUSTED (the budget is too small for one page of each layer group), IO (disk_cache_folder cannot be
 * made or used; the system gives no random bytes), OUT_OF_MEMORY. Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_create(kvi_model* model, const kvi_engine_options* options,
                                              kvi_engine** out, kvi_error** error);
/* kvi_model_open with its defaults, then kvi_engine_create. Errors: those of both. Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_open(const char* path, size_t path_size,
                                            const kvi_engine_options* options, kvi_engine** out,
                                            kvi_error** error);
/* Ends all work (finish "cancelled") and returns when the engine's last thread has ended; calls on the engine's handles
 * return CLOSED from then on, and disk_cache_folder is free for the next engine. Copies to the disk are finished first,
 * for up to 5 s; pages that sessions still hold are not copied, so release sessions before. Releasing the engine is
 * enough otherwise: close before dlclose, before the process exits, or to be sure of the end.
 *  timeout_ms  KVI_FOREVER, or how long to wait
 * Errors: TIMEOUT (closing goes on), INVALID_STATE (called inside a callback of the engine). Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_close(kvi_engine* engine, uint32_t timeout_ms,
                                             kvi_error** error);
/* Gives the reference back. Sessions and requests keep the engine; it ends with the last of them, without waiting for
 * the step at hand. Any thread. */
KVI_API void KVI_CALL kvi_engine_release(kvi_engine* engine);
/* The engine's model: a new reference. Errors: OUT_OF_MEMORY. Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_model(kvi_engine* engine, kvi_model** out,
                                             kvi_error** error);
/* A snapshot of the counters. Any thread, never waits for a step. */
KVI_API kvi_status KVI_CALL kvi_engine_get_stats(kvi_engine* engine, kvi_stats* stats,
                                                 kvi_error** error);
/* Changes the KV budget while the engine runs. Nothing that is in use moves: growing takes effect at once, shrinking by
 * giving up what is cached, then idle sessions' pages, then by preempting requests, between steps.
 * Errors: INVALID_ARGUMENT (below one page of each layer group, or beyond the device's memory), CLOSED. Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_set_budget(kvi_engine* engine, uint64_t kv_budget_bytes,
                                                  kvi_error** error);
/* Gives memory back to the system: free pages first, then cached ones, up to num_bytes. Pages that are being copied to
 * a lower tier (the device's deferred_bytes in kvi_tier_stats) stay until that is done: call again then.
 *  given_back  out, or NULL: bytes
 * Errors: CLOSED. Any thread. */
KVI_API kvi_status KVI_CALL kvi_engine_trim(kvi_engine* engine, uint64_t num_bytes,
                                            uint64_t* given_back, kvi_error** error);
/* Counters, gauges and histograms since the engine was created, as Prometheus text (format 0.0.4), to be served as
 * "text/plain; version=0.0.4". Where a number means what one of vLLM's means it has vLLM's name ("vllm:..."), so that
 * dashboards made for vLLM work; the others begin with "kvinfer:". Each sample has the label model_name
 * (KVI_MODEL_NAME); who serves several engines adds a label of his own. The numbers go on between asking for the size
 * and for the text: leave room, or ask again. Errors: BUFFER_TOO_SMALL. Any thread, never waits: takes no lock. */
KVI_API kvi_status KVI_CALL kvi_engine_metrics_text(kvi_engine* engine, char* buffer,
                                                    size_t capacity, size_t* needed,
                                                    kvi_error** error);
/* Waits until requests of this engine have output to read or have finished, and names them: one waiter serves
 * thousands. A request is named again when there is news after its last read, or output left by it.
 *  requests, capacity  out: borrowed handles of unfinished or unread requests that the caller holds (kvi_request_user)
 *  count               out: how many; the rest are named by the next call
 *  timeout_ms          0: just look; KVI_FOREVER
 * Errors: TIMEOUT (count is 0), CLOSED. Any thread; each piece of news goes to one waiter. */
KVI_API kvi_status KVI_CALL kvi_engine_wait(kvi_engine* engine, kvi_request** requests,
                                            size_t capacity, size_t* count, uint32_t timeout_ms,
                                            kvi_error** error);

/* ---- plan -------------------------------------------------------------------------------------- */
/* How much memory does it need, and what fits? Answered from a model's metadata or from a shape given by hand: no
 * weights are loaded, no device is touched. Options that vLLM has too carry its name and its meaning. */

/* A model as numbers, where there is no file. Each layer has K and V of its own for all tokens, unless it is among the
 * window, shared or state layers. */
typedef struct kvi_model_shape {
  uint32_t struct_size;
  uint32_t num_layers;      /* 0: must be set, as all that say so; 1 to 65,536 */
  uint32_t num_heads;       /* 0: must be set; 1 to 65,536 */
  uint32_t num_kv_heads;    /* KVI_AUTO: as num_heads */
  uint32_t head_dim;        /* KVI_AUTO: embedding_len / num_heads; num_heads * head_dim <= 2^20 */
  uint32_t embedding_len;   /* 0: must be set; 1 to 2^20 */
  uint32_t ffn_len;         /* 0: must be set; of one expert; 1 to 2^24 */
  uint32_t vocab_size;      /* 0: must be set; 1 to 2^24 */
  uint32_t num_experts;     /* 1: a dense model; at most 65,536 */
  uint32_t tied_embeddings; /* 0; 1: the output matrix is the embedding's */
  uint32_t context_len;     /* 4096: tokens that the model was made for */
  uint32_t window;          /* 0: tokens that window layers see */
  uint32_t num_window_layers; /* 0: that hold their window only */
  uint32_t num_shared_layers; /* 0: that read another layer's K and V and have none */
  uint32_t num_state_layers;  /* 0: that keep a state of state_bytes a sequence (recurrent ones) */
  uint64_t state_bytes;       /* 0: of one layer and sequence */
  double weight_bits;         /* 16: bits a weight, block scales included; above 0, at most 64 */
  uint64_t weights_bytes; /* KVI_AUTO_BYTES: from the numbers above (gated MLPs) and weight_bits */
} kvi_model_shape;
KVI_API kvi_status KVI_CALL kvi_model_shape_init(kvi_model_shape* shape, size_t struct_size);

typedef struct kvi_plan_options {
  uint32_t struct_size;
  uint32_t max_num_seqs;         /* 16: sequences at once (max_sequences of an engine) */
  double gpu_memory_utilization; /* 0.9: the share for weights, scratch and KV together; (0, 1] */
  uint64_t device_memory_bytes;  /* KVI_AUTO_BYTES: this machine's memory; at most 2^60 */
  uint64_t kv_budget_bytes;      /* KVI_AUTO_BYTES: what the share leaves for KV; else just this */
  uint32_t max_model_len;        /* KVI_AUTO: the model's context */
  uint32_t sequence_len; /* KVI_AUTO, and above max_model_len: that; tokens of each sequence */
  uint32_t max_num_batched_tokens; /* 512: of one step (max_batch_tokens of an engine) */
  uint32_t block_size;             /* 16: tokens of a page (page_len of an engine) */
  /* NULL, as "auto": "f16", "bf16"; "fp8" and "int8" with an f16 scale a token and head, "int4" with one a 32 values.
   * kvi_plan says whether this build can run it; its bytes are planned in any case. vLLM's names are taken too. */
  const char* kv_cache_dtype;
  size_t kv_cache_dtype_size;     /* KVI_ZERO_TERMINATED; with that, NULL is "auto" */
  uint64_t swap_space_bytes;      /* 4 GiB: host memory for sequences that pause; 0: none */
  uint32_t enable_prefix_caching; /* 1; 0: equal prefixes are kept once for each user */
  uint32_t paused_sequences;      /* 0: how many shall find room in swap space */
  uint32_t prefix_len;            /* 0: tokens of a prefix that */
  uint32_t prefix_users;          /* 0: so many sequences begin with */
  uint32_t num_threads;           /* KVI_AUTO, as for an engine */
  int32_t activations;            /* KVI_ACTIVATIONS_INT8, as for an engine */
  uint32_t must_fit; /* 0; 1: EXHAUSTED unless max_num_seqs sequences of sequence_len tokens fit */
} kvi_plan_options;
KVI_API kvi_status KVI_CALL kvi_plan_options_init(kvi_plan_options* options, size_t struct_size);

/* Starting points for options; each sets must_fit. */
typedef enum kvi_plan_preset_values {
  /* 0.95 of the device, 256 sequences of 1,024 tokens, steps of 2,048 tokens, pages of 16 */
  KVI_PRESET_THROUGHPUT = 0,
  /* 0.9, 16 sequences of 128,000 tokens, steps of 2,048 tokens; pages of 64: short page tables */
  KVI_PRESET_LONG_CONTEXT = 1,
  /* 0.8, 4 sequences of 2,048 tokens, steps of 128 tokens: little scratch; pages of 16, the smallest: least waste */
  KVI_PRESET_LOW_MEMORY = 2
} kvi_plan_preset_values;
/* Sets those members of prepared options that the preset is about: gpu_memory_utilization, max_num_seqs, max_model_len,
 * sequence_len, max_num_batched_tokens, block_size, must_fit. What is set afterwards counts.
 * Errors: INVALID_ARGUMENT. Any thread. */
KVI_API kvi_status KVI_CALL kvi_plan_options_preset(kvi_plan_options* options, int32_t preset,
                                                    kvi_error** error);

/* What to lower where a plan does not fit: the first in this order that alone makes it fit. With fewer sequences the
 * others wait, with a smaller max_model_len requests are refused, and other weights are another model. Where none does
 * alone: what frees most, with lower_to 0; the advice then names all that it takes. */
typedef enum kvi_lower_values {
  KVI_LOWER_NOTHING = 0,       /* it fits */
  KVI_LOWER_MAX_NUM_SEQS = 1,  /* lower_to: sequences */
  KVI_LOWER_MAX_MODEL_LEN = 2, /* tokens that each of max_num_seqs sequences may have */
  /* tokens of a step, so that scratch leaves room */
  KVI_LOWER_MAX_NUM_BATCHED_TOKENS = 3,
  KVI_LOWER_WEIGHTS = 4 /* bytes: fewer bits a weight, or a smaller model */
} kvi_lower_values;

/* Bytes are what an engine with the same options takes. Sums beyond 64 bits read UINT64_MAX. */
typedef struct kvi_plan {
  uint32_t struct_size;
  uint32_t page_len;
  uint64_t weights_bytes;      /* in memory, repacked; of a shape: an estimate */
  uint64_t kv_bytes_per_token; /* of all layers, while none has reached its window */
  /* pages for max_num_seqs sequences of sequence_len tokens; one alone is taken to be a prompt of that length */
  uint64_t kv_bytes;
  uint64_t kv_bytes_per_sequence; /* each of these; windows hold the pages that they lie in */
  uint64_t scratch_bytes;         /* of the executor, for max_num_batched_tokens, and logits */
  uint64_t load_peak_bytes;       /* the most that loading holds; of a shape: as weights_bytes */
  uint64_t kv_bytes_per_page;     /* page_len tokens in all layers */
  /* what windows hold besides, at most, while a chunk is prefilled; kv_bytes has it once, whatever max_num_seqs is */
  uint64_t kv_prefill_bytes;
  uint32_t max_model_len; /* as resolved */
  uint32_t sequence_len;
  uint64_t kv_budget_bytes; /* what is left for KV, or was given: for an engine's options */
  uint64_t needed_bytes; /* weights, scratch and kv_bytes; of a given kv_budget_bytes: kv_bytes */
  uint64_t available_bytes; /* the share of the device; or the given kv_budget_bytes */
  uint64_t missing_bytes;   /* 0: it fits */
  uint64_t max_sequences;   /* of sequence_len tokens in the budget, whatever max_num_seqs is */
  uint64_t max_len;         /* tokens of each of max_num_seqs sequences, at most 2^24 */
  uint64_t max_tokens;      /* in the budget, in sequences of sequence_len tokens */
  uint64_t swap_bytes;      /* for paused_sequences sequences of sequence_len tokens */
  uint64_t swap_sequences;  /* that swap_space_bytes hold */
  /* prefix_len * (prefix_users - 1) tokens, in windows no more than they hold */
  uint64_t prefix_saved_bytes;
  /* the least length at which one sequence's K and V take more than the weights; 0: none does */
  uint64_t kv_exceeds_weights_len;
  uint64_t lower_to; /* the value with which it fits, all else as it is; 0: more is to be lowered */
  int32_t lower_first;          /* KVI_LOWER_* */
  uint32_t kv_cache_dtype_runs; /* 1: this build has the KV type; 0: it is planned only */
  char advice[256];             /* whether it fits, what is left or missing, what to lower first */
} kvi_plan;
KVI_API kvi_status KVI_CALL kvi_plan_init(kvi_plan* plan, size_t struct_size);

/* Plans for a model, opened in any way. options: NULL: the defaults.
 * Errors: INVALID_ARGUMENT (names the member and its range), UNSUPPORTED (this library cannot run the model),
 * EXHAUSTED (must_fit, with needed and available in bytes). Any thread. */
KVI_API kvi_status KVI_CALL kvi_plan_model(const kvi_model* model, const kvi_plan_options* options,
                                           kvi_plan* plan, kvi_error** error);
/* Plans for a shape. Errors: INVALID_ARGUMENT, EXHAUSTED, as above. Any thread. */
KVI_API kvi_status KVI_CALL kvi_plan_shape(const kvi_model_shape* shape,
                                           const kvi_plan_options* options, kvi_plan* plan,
                                           kvi_error** error);

/* ---- session ----------------------------------------------------------------------------------- */
/* A session is one running text: its tokens and their KV pages. Appending only adds tokens; the next request computes
 * them. While a request of a session runs, the session's functions return BUSY. The exceptions are
 * kvi_session_get_info, kvi_session_release (it cancels the request), and all functions of the request itself. Only one
 * thread may use a session at a time: a second one gets BUSY (retryable). This holds for every function here that does
 * not say "any thread". */

enum { KVI_PART_TEXT = 0, KVI_PART_TOKENS = 1 };
/* A piece of input. In an array, elements are parts[0].struct_size bytes apart. */
typedef struct kvi_part {
  uint32_t struct_size;
  int32_t kind;          /* KVI_PART_TEXT */
  const char* text;      /* NULL; KVI_PART_TEXT: UTF-8 */
  size_t text_size;      /* KVI_ZERO_TERMINATED; with that, NULL is the empty text */
  const int32_t* tokens; /* KVI_PART_TOKENS */
  size_t num_tokens;     /* 0 */
  /* KVI_BOS_AUTO: text only; automatic adds one at the start of a session at most */
  int32_t add_bos;
  int32_t parse_special; /* KVI_SPECIAL_NO: text only */
} kvi_part;

typedef struct kvi_session_options {
  uint32_t struct_size;
  /* 0; from -1000 to 1000: the priority of its requests. Higher ones start first and are preempted last */
  int32_t priority;
  /* NULL: "". Names whose cache the session uses: any bytes, at most 1 MiB. Tenants never find each other's prefixes */
  const char* tenant;
  size_t tenant_size;    /* KVI_ZERO_TERMINATED; with that, NULL is "" */
  uint32_t reads_shared; /* 1: also finds the prefixes that were preloaded with KVI_SCOPE_SHARED */
  /* 1: later sessions of this tenant may find its text. 0: they do not, and this session finds nothing either */
  uint32_t caches;
} kvi_session_options;

typedef struct kvi_session_info {
  uint32_t struct_size;
  uint32_t num_tokens;          /* in the session */
  uint32_t num_computed_tokens; /* of these, with K and V in pages */
  uint32_t max_tokens;          /* max_model_len of the engine */
  uint32_t busy;                /* 1: a request is running or waiting */
  uint64_t kv_bytes;            /* of the pages that it holds; shared pages count in each holder */
  /* 1: kvi_session_suspend was called, and the pages have not been asked back since */
  uint32_t suspended;
} kvi_session_info;

/* What kvi_session_set_messages found. */
typedef struct kvi_messages_result {
  uint32_t struct_size;
  uint32_t kept_tokens;    /* common prefix with what the session held */
  uint32_t dropped_tokens; /* that the session held beyond it */
  uint32_t added_tokens;
} kvi_messages_result;

KVI_API kvi_status KVI_CALL kvi_part_init(kvi_part* part, size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_session_options_init(kvi_session_options* options,
                                                     size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_session_info_init(kvi_session_info* info, size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_messages_result_init(kvi_messages_result* result,
                                                     size_t struct_size);

/* Creates an empty session. Errors: INVALID_ARGUMENT, CLOSED, OUT_OF_MEMORY. Any thread. */
KVI_API kvi_status KVI_CALL kvi_session_create(kvi_engine* engine,
                                               const kvi_session_options* options,
                                               kvi_session** out, kvi_error** error);
/* Gives its pages back, after cancelling its request, if any, whose handle stays valid. Any thread. */
KVI_API void KVI_CALL kvi_session_release(kvi_session* session);
/* Adds tokens at the end: all parts, or none on failure.
 * Errors: INVALID_ARGUMENT (ill-formed UTF-8, an id outside the vocabulary), UNSUPPORTED (text, and the model has no
 * known tokenizer), CONTEXT_FULL (needed and available in tokens), BUSY, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_session_append(kvi_session* session, const kvi_part* parts,
                                               size_t num_parts, kvi_error** error);
/* kvi_session_append of one text with the defaults of kvi_part. Errors: those of kvi_session_append. */
KVI_API kvi_status KVI_CALL kvi_session_append_text(kvi_session* session, const char* text,
                                                    size_t text_size, kvi_error** error);
/* Makes the session hold a conversation: renders all of it with the model's chat template, keeps the longest common
 * token prefix with what is there, drops the rest and appends what is new. Text of messages never becomes a
 * special token. On failure the session is unchanged.
 *  arguments  as for kvi_apply_template
 *  result     out, or NULL
 * Errors: those of kvi_apply_template and kvi_session_append. */
KVI_API kvi_status KVI_CALL kvi_session_set_messages(
    kvi_session* session, const kvi_message* messages, size_t num_messages, const char* arguments,
    size_t arguments_size, kvi_messages_result* result, kvi_error** error);
/* Keeps the first num_tokens tokens and drops the rest. Layers with a sliding window may no longer have the pages for
 * that point. Then the next request computes from the last point for which all pages are there.
 * Errors: INVALID_ARGUMENT (more than it has), BUSY, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_session_truncate(kvi_session* session, uint32_t num_tokens,
                                                 kvi_error** error);
/* A second session with the same tokens, sharing pages; each copies a shared page before it writes to it.
 * Errors: BUSY, CLOSED, OUT_OF_MEMORY. */
KVI_API kvi_status KVI_CALL kvi_session_fork(kvi_session* session, kvi_session** out,
                                             kvi_error** error);
/* Gives the session's pages back, and keeps a copy of them in a lower tier until the session goes on or is released. The
 * call returns at once; the copy is made in the background. The next request, or kvi_session_resume, brings the pages
 * back, much sooner than they could be computed again. What a failing tier loses is computed again. Suspending a
 * suspended session changes nothing, whatever the tier. (A session that is not suspended may lose its pages too, when
 * others need the memory. Then only the prefix cache may still have them.)
 *  tier  KVI_TIER_HOST or KVI_TIER_DISK
 * Errors: INVALID_ARGUMENT, UNSUPPORTED (the engine has no such tier), EXHAUSTED (retryable: the tier is full of pages
 * that are pinned there; with needed and available bytes), BUSY, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_session_suspend(kvi_session* session, int32_t tier,
                                                kvi_error** error);
/* Begins to bring a session's pages back, and returns at once. Without this call the next request does it, and waits
 * for them. Errors: BUSY, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_session_resume(kvi_session* session, kvi_error** error);
/* The session's tokens. Errors: BUFFER_TOO_SMALL, BUSY, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_session_tokens(kvi_session* session, int32_t* tokens,
                                               size_t capacity, size_t* count, kvi_error** error);
/* Describes a session; also while a request runs. Any thread. */
KVI_API kvi_status KVI_CALL kvi_session_get_info(kvi_session* session, kvi_session_info* info,
                                                 kvi_error** error);

/* ---- snapshot ---------------------------------------------------------------------------------- */
/* A snapshot is a session as a portable file: its tokens, and its K and V in the same arrangement for every device.
 * Each part has a checksum (docs/cache.md, "The snapshot file", states the format). A session that is loaded from
 * one goes on with exactly the tokens and logits that the saved one would give, and does not compute the prompt again.
 *
 * Checksums find damage, but no forgery. So no other session finds what a loaded session holds or computes: it and its
 * forks are as if created with caches 0, unless only tokens were taken. Load only what you trust: whoever can write a
 * snapshot can make its session say anything. */

/* Your functions for the bytes of a snapshot. kvi_write_fn takes the next size bytes. kvi_read_fn writes at most capacity
 * bytes (capacity is above 0) into buffer, and how many it wrote into *size, which is 0 before. Writing 0 means the
 * end; writing fewer than capacity does not. Both are called on the thread that saves or loads, with no lock held.
 * Both answer KVI_CONTINUE to go on, or KVI_CANCEL to end the call with KVI_CANCELLED. Any other answer means that they
 * failed, and ends the call with KVI_IO. */
typedef int32_t(KVI_CALL* kvi_write_fn)(void* user, const void* bytes, size_t size);
typedef int32_t(KVI_CALL* kvi_read_fn)(void* user, void* buffer, size_t capacity, size_t* size);

/* Why no more was taken of a snapshot. */
typedef enum kvi_snapshot_reasons {
  KVI_SNAPSHOT_COMPLETE = 0,       /* all was taken */
  KVI_SNAPSHOT_NOT_A_SNAPSHOT = 1, /* the file is of another kind */
  KVI_SNAPSHOT_NEWER_VERSION = 2,  /* of the format */
  KVI_SNAPSHOT_DAMAGED_HEADER = 3,
  KVI_SNAPSHOT_OTHER_MODEL = 4,    /* nothing of it can be used */
  KVI_SNAPSHOT_OTHER_LAYOUT = 5,   /* page_len, or how K and V are kept: its tokens can be used */
  KVI_SNAPSHOT_OTHER_NUMERICS = 6, /* they were rounded otherwise: its tokens can be used */
  KVI_SNAPSHOT_TOO_LONG = 7,       /* for max_model_len */
  KVI_SNAPSHOT_DAMAGED_TOKENS = 8,
  KVI_SNAPSHOT_DAMAGED_PAGE = 9,
  KVI_SNAPSHOT_TRUNCATED = 10,
  KVI_SNAPSHOT_TRAILING_BYTES = 11 /* after the last page; all before them is right */
} kvi_snapshot_reasons;
/* "damaged_page" for KVI_SNAPSHOT_DAMAGED_PAGE, and so on; "unknown" outside the list. Static text. */
KVI_API const char* KVI_CALL kvi_snapshot_reason_name(int32_t reason);

typedef struct kvi_snapshot_options {
  uint32_t struct_size;
  /* 0; 1: take K and V also where they were rounded otherwise (another backend or version, other activations): the
   * text goes on sensibly, and not bit for bit as it would have */
  uint32_t allow_foreign_numerics;
  const kvi_session_options* session; /* NULL: the defaults; of the session that is made */
} kvi_snapshot_options;

/* What was taken: the longest prefix that is valid and fits the engine, and why it was not more. */
typedef struct kvi_snapshot_result {
  uint32_t struct_size;
  int32_t reason; /* KVI_SNAPSHOT_* */
  uint32_t num_tokens;
  /* of these, from the first on, with K and V. Where a sliding window's pages are missing at the end, 0: a window's
   * pages serve the whole sequence only */
  uint32_t num_kv_tokens;
  uint64_t num_pages; /* of all layer groups */
  char text
      [512]; /* the reason for people: which field or part, what it is and what was expected; cut to fit */
} kvi_snapshot_result;

/* What a snapshot says of itself, in its header. */
typedef struct kvi_snapshot_info {
  uint32_t struct_size;
  uint32_t version; /* of the format */
  uint32_t num_tokens;
  uint32_t num_kv_tokens; /* of these, with K and V */
  uint32_t page_len;      /* tokens */
  uint32_t num_groups;    /* of layers: full attention, and each width of a window */
  uint64_t num_pages;     /* of all layer groups */
  uint64_t size_bytes;    /* of the whole file, if it is whole */
  /* what is not printable is escaped, and a longer text cut */
  char model_fingerprint[128]; /* as kvi_model_text of the model */
  char model_name[256];
  char numerics_id[128];
  char library_version[64]; /* that wrote it */
} kvi_snapshot_info;

KVI_API kvi_status KVI_CALL kvi_snapshot_options_init(kvi_snapshot_options* options,
                                                      size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_snapshot_result_init(kvi_snapshot_result* result,
                                                     size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_snapshot_info_init(kvi_snapshot_info* info, size_t struct_size);

/* Saves a session into a file, and blocks until all of it is on the disk. The file (mode 0600) replaces an older one in
 * one step: on any failure the older one is as it was. The session stays as it is, suspended or not. If it is suspended,
 * or has lost its pages to others, K and V are saved as far as the cache still has them in any tier. During the call
 * the pages cannot be evicted; other sessions go on.
 *  path, path_size  UTF-8; a symbolic link is refused
 * Errors: INVALID_ARGUMENT (path; it names something else than a regular file), NOT_FOUND (the folder), IO (names path
 * and bytes: a full or read-only disk), UNSUPPORTED, BUSY, CLOSED, INVALID_STATE (in a callback of the engine). */
KVI_API kvi_status KVI_CALL kvi_session_save(kvi_session* session, const char* path,
                                             size_t path_size, kvi_error** error);
/* The same, but the bytes go to a function, in order.
 * Errors: those of kvi_session_save; CANCELLED, IO as write answers. */
KVI_API kvi_status KVI_CALL kvi_session_save_to(kvi_session* session, kvi_write_fn write,
                                                void* user, kvi_error** error);
/* Makes a session from a snapshot. It takes the longest prefix that is valid and fits, and *result says why it was not
 * more. K and V of another page_len are not converted: then only the tokens are taken, and the next request computes
 * them.
 *  path, path_size  UTF-8
 *  options          NULL: the defaults
 *  out              the session, one reference
 *  result           out, or NULL: what was taken
 * Errors: INVALID_ARGUMENT, NOT_FOUND, IO, CORRUPT (no snapshot, or its header is damaged), UNSUPPORTED (of another model
 * or a newer version), EXHAUSTED (its pages do not fit the KV budget: needed and available in bytes; retryable where
 * others hold them), CLOSED, INVALID_STATE (in a callback of the engine). Any thread. */
KVI_API kvi_status KVI_CALL kvi_session_load(kvi_engine* engine, const char* path, size_t path_size,
                                             const kvi_snapshot_options* options, kvi_session** out,
                                             kvi_snapshot_result* result, kvi_error** error);
/* The same from a function. What follows the last page needed is not read.
 * Errors: those of kvi_session_load; CANCELLED, IO as read answers, INVALID_ARGUMENT (it gave more than fits). */
KVI_API kvi_status KVI_CALL kvi_session_load_from(kvi_engine* engine, kvi_read_fn read, void* user,
                                                  const kvi_snapshot_options* options,
                                                  kvi_session** out, kvi_snapshot_result* result,
                                                  kvi_error** error);
/* Reads a snapshot's header; needs no model. Errors: INVALID_ARGUMENT, NOT_FOUND, IO, CORRUPT (no snapshot, or its
 * header is damaged), UNSUPPORTED (a newer version). Any thread. */
KVI_API kvi_status KVI_CALL kvi_snapshot_inspect(const char* path, size_t path_size,
                                                 kvi_snapshot_info* info, kvi_error** error);
/* Reads all of a snapshot, a few kilobytes at a time, and checks every checksum; needs no model. KVI_OK also where it is
 * damaged: result->reason is KVI_SNAPSHOT_COMPLETE only where every byte is right.
 * Errors: INVALID_ARGUMENT, NOT_FOUND, IO. Any thread. */
KVI_API kvi_status KVI_CALL kvi_snapshot_verify(const char* path, size_t path_size,
                                                kvi_snapshot_result* result, kvi_error** error);

/* ---- generation -------------------------------------------------------------------------------- */

typedef struct kvi_logit_bias {
  int32_t token;
  float bias; /* added to the logit; -INFINITY forbids the token; not all may be */
} kvi_logit_bias;

typedef struct kvi_stop_text {
  const char* text;
  size_t size; /* bytes, or KVI_ZERO_TERMINATED */
} kvi_stop_text;

/* Sampling, in this order: logit bias, penalties, temperature, top_k, top_p, min_p. Defaults in comments. */
typedef struct kvi_generate_options {
  uint32_t struct_size;
  uint32_t max_tokens; /* 256; 0: only compute what the session holds, and end as LENGTH */
  float temperature;   /* 0.8; 0: greedy, the largest logit, ties to the lower id */
  uint32_t top_k;      /* 40; 0: off */
  float top_p;         /* 0.95; 1: off */
  float min_p; /* 0.05; 0: off: keeps tokens of at least min_p times the largest probability */
  /* 1: off; divides positive and multiplies negative logits of tokens in the session (CTRL) */
  float repetition_penalty;
  float presence_penalty;  /* 0: subtracted once for each token already generated by this request */
  float frequency_penalty; /* 0: subtracted for each time it was generated */
  /* -1: no logprobs; 0: of the chosen token; n <= 64: and of the n most probable */
  int32_t top_logprobs;
  uint64_t seed; /* 0: same seed and tokens give the same text, whatever else runs beside it */
  uint32_t ignore_eos; /* 0; 1: end-of-text tokens are like others */
  uint32_t num_stops;  /* 0 */
  /* NULL; generation ends before the one of these texts that is complete first; never a part of it comes out */
  const kvi_stop_text* stops;
  const kvi_logit_bias* biases; /* NULL */
  uint32_t num_biases;          /* 0 */
  uint32_t timeout_ms; /* KVI_FOREVER; afterwards the request ends as KVI_FINISH_CANCELLED */
  void* user;          /* NULL; what kvi_request_user gives back */
  int32_t priority;    /* KVI_SESSION_PRIORITY; from -1000 to 1000 */
} kvi_generate_options;
#define KVI_SESSION_PRIORITY INT32_MIN /* the session's */
KVI_API kvi_status KVI_CALL kvi_generate_options_init(kvi_generate_options* options,
                                                      size_t struct_size);

typedef enum kvi_finish_values {
  KVI_FINISH_NONE = 0,    /* still running */
  KVI_FINISH_EOS = 1,     /* the model ended the text */
  KVI_FINISH_STOP = 2,    /* a stop text, or a callback's KVI_STOP */
  KVI_FINISH_LENGTH = 3,  /* max_tokens */
  KVI_FINISH_CONTEXT = 4, /* the session is full */
  KVI_FINISH_CANCELLED = 5,
  KVI_FINISH_ERROR = 6 /* kvi_request_await returns the status and the error */
} kvi_finish_values;
/* "eos" for KVI_FINISH_EOS, and so on; "unknown" outside the list. Static text. */
KVI_API const char* KVI_CALL kvi_finish_name(int32_t finish);

typedef struct kvi_usage {
  uint32_t struct_size;
  int32_t finish;            /* KVI_FINISH_* */
  uint32_t prompt_tokens;    /* in the session when the request began */
  uint32_t cached_tokens;    /* of these, already computed */
  uint32_t generated_tokens; /* without the end-of-text token */
  double queue_ms;           /* from the call to the first step */
  double ttft_ms;            /* from the call to the first token, or the end if there is none */
  double tpot_ms;            /* mean time of each further token; 0 where there is none */
  double total_ms;
  uint32_t host_tokens;     /* of cached_tokens, brought from the host tier */
  uint32_t disk_tokens;     /* and from the disk */
  uint32_t num_preemptions; /* how often it had to give up its pages and take them up again */
} kvi_usage;
KVI_API kvi_status KVI_CALL kvi_usage_init(kvi_usage* usage, size_t struct_size);

/* Starts generating after the session's tokens; returns at once. The generated tokens become part of the session.
 *  options  NULL: the defaults
 *  out      the request, one reference; releasing it before its end cancels it (keeping what was made)
 * Errors: INVALID_ARGUMENT (names the option; also an empty session), BUSY, EXHAUSTED (the queue is full, retryable; or
 * the KV budget can never hold the prompt, with needed and available in bytes), CLOSED. Where pages give out later,
 * idle sessions give theirs up and requests are preempted, and all go on later: no session need be released for that.
 * kvi_request_await says EXHAUSTED only where that is not enough: retryable where pins on the device, or other engines
 * of a shared budget, hold the rest; not where the request alone is too large. Of a session's callers one thread at a
 * time; the request then belongs to any thread. */
KVI_API kvi_status KVI_CALL kvi_session_generate(kvi_session* session,
                                                 const kvi_generate_options* options,
                                                 kvi_request** out, kvi_error** error);

/* The user pointer of the options that the request was made with, so that a loop around kvi_engine_wait finds its own
 * object. NULL where there is none, or no request. Any thread. */
KVI_API void* KVI_CALL kvi_request_user(const kvi_request* request);

/* Takes generated text that was not read yet: as many whole code points as fit.
 *  buffer, capacity  at least 4 bytes; no terminator is written
 *  size              out: bytes written, 0 when there is nothing now
 *  finish            out, or NULL: KVI_FINISH_NONE until everything has been read, then how it ended
 * Errors: INVALID_ARGUMENT. Any thread; each byte goes to one reader. */
KVI_API kvi_status KVI_CALL kvi_request_read(kvi_request* request, char* buffer, size_t capacity,
                                             size_t* size, int32_t* finish, kvi_error** error);
/* The ids generated so far, from index first on, and their log-probabilities (natural, of the model's own
 * distribution before sampling settings; NaN where top_logprobs is -1). Text may lag behind ids.
 *  tokens, logprobs, capacity  out; either may be NULL
 *  count                       out: how many were written, 0 past the end
 * Errors: INVALID_ARGUMENT. Any thread; reading ids takes nothing away. */
KVI_API kvi_status KVI_CALL kvi_request_tokens(kvi_request* request, size_t first, int32_t* tokens,
                                               float* logprobs, size_t capacity, size_t* count,
                                               kvi_error** error);
/* The most probable tokens at the place of generated token index, best first.
 *  tokens, logprobs, capacity  out; either may be NULL; a small capacity gets the best ones
 *  count                       out: how many were written; with capacity 0 how many there are
 * Errors: NOT_FOUND (no such index), INVALID_STATE (top_logprobs was below 1). Any thread. */
KVI_API kvi_status KVI_CALL kvi_request_top_logprobs(kvi_request* request, size_t index,
                                                     int32_t* tokens, float* logprobs,
                                                     size_t capacity, size_t* count,
                                                     kvi_error** error);
/* Waits until there is text to read or the request has ended: what kvi_engine_wait is for one request alone.
 * Errors: TIMEOUT. Any thread, but not in a callback of the engine. */
KVI_API kvi_status KVI_CALL kvi_request_wait(kvi_request* request, uint32_t timeout_ms,
                                             kvi_error** error);
/* Waits for the end. Returns KVI_OK however it ended, except for KVI_FINISH_ERROR: that request's status and error.
 * Errors: TIMEOUT (still running), INVALID_STATE (inside a callback of the engine). Any thread. */
KVI_API kvi_status KVI_CALL kvi_request_await(kvi_request* request, uint32_t timeout_ms,
                                              kvi_error** error);
/* Asks for the end, within one step; finish becomes KVI_FINISH_CANCELLED. Returns at once. No effect after the end.
 *  how  KVI_STOP: keep the generated tokens in the session; KVI_CANCEL: the session is as before the request
 * The first call counts. Errors: INVALID_ARGUMENT. Any thread, also in callbacks. */
KVI_API kvi_status KVI_CALL kvi_request_cancel(kvi_request* request, int32_t how,
                                               kvi_error** error);
/* Counts and times so far. Any thread. */
KVI_API kvi_status KVI_CALL kvi_request_get_usage(kvi_request* request, kvi_usage* usage,
                                                  kvi_error** error);
/* Gives the handle back; a request that still runs is cancelled as by KVI_STOP, and kvi_engine_wait names it no more.
 * Any thread. */
KVI_API void KVI_CALL kvi_request_release(kvi_request* request);

/* A piece of generated text, as a callback sees it; valid during the call. */
typedef struct kvi_text {
  const char* bytes; /* whole UTF-8 code points, no terminator */
  size_t size;
  const int32_t* tokens; /* the ids that came since the last call */
  size_t num_tokens;
} kvi_text;
/* Answers KVI_CONTINUE, KVI_STOP or KVI_CANCEL. */
typedef int32_t(KVI_CALL* kvi_text_fn)(void* user, const kvi_text* text);

/* Generates after a prompt, in a session of its own, and returns at the end: the shortest way to text.
 *  prompt, prompt_size  UTF-8; add_bos automatic, special tokens not parsed
 *  options              NULL: the defaults
 *  on_text, user        called on this thread as text comes, with no lock held; NULL: only usage is wanted
 *  usage                out, or NULL; written also when generation began and then failed: on_text has had what came
 *                       before, and finish is KVI_FINISH_ERROR, or KVI_FINISH_CANCELLED with CANCELLED
 * Errors: those of append, generate and await; CANCELLED when on_text answered KVI_CANCEL, INVALID_ARGUMENT for an
 * answer that there is not. Any thread. */
KVI_API kvi_status KVI_CALL kvi_generate(kvi_engine* engine, const char* prompt, size_t prompt_size,
                                         const kvi_generate_options* options, kvi_text_fn on_text,
                                         void* user, kvi_usage* usage, kvi_error** error);

/* ---- cache ------------------------------------------------------------------------------------- */
/* Whatever is computed stays in the prefix cache until its memory is wanted. Every later prompt of the same tenant that
 * begins with the same tokens finds it. These functions steer that (docs/using-the-cache.md shows how). They may be
 * called from any thread.
 *
 * Prefixes are found in whole pages while their session is open. The last page of a session, if it is not full, is found
 * once the session has given its pages up: when it is released or suspended, or yields to others. */

enum {
  KVI_TIER_DEVICE = 0, /* the KV pages that are computed with; on the CPU in RAM */
  KVI_TIER_HOST = 1,
  KVI_TIER_DISK = 2
};
enum {
  KVI_SCOPE_TENANT = 0,
  KVI_SCOPE_SHARED =
      1 /* an operator's prefix: sessions with reads_shared of every tenant find it */
};
enum {
  KVI_BAND_LOW =
      1, /* evicted before what others cached, as far as no other prefix goes through it */
  KVI_BAND_NORMAL = 2,
  KVI_BAND_HIGH = 3 /* is evicted last */
};

/* Why tokens are not cached. Where several reasons apply, the first one in this order is told: EVICTED, TENANT, NUMERICS,
 * LAYOUT, MODEL. The last three are about whole pages that earlier engines left in disk_cache_folder for the same tenant,
 * with the same secret; an engine without a disk tier never tells them. For less than a page the reason is always
 * NEVER_SEEN, also for the last, partial page of a session that is still open. */
typedef enum kvi_miss_reason_values {
  KVI_MISS_NONE = 0,      /* all of it is cached */
  KVI_MISS_TENANT = 1,    /* another tenant, or the shared scope, has it */
  KVI_MISS_MODEL = 2,     /* the disk has it, but from another model */
  KVI_MISS_LAYOUT = 3,    /* this model, but another layout: page_len, or how K and V are kept */
  KVI_MISS_NUMERICS = 4,  /* this layout, but rounded otherwise: backend, version or activations */
  KVI_MISS_EVICTED = 5,   /* it was cached, not long ago */
  KVI_MISS_NEVER_SEEN = 6 /* none of these is known */
} kvi_miss_reason_values;
/* "tenant" for KVI_MISS_TENANT, and so on; "unknown" outside the list. Static text. */
KVI_API const char* KVI_CALL kvi_miss_reason_name(int32_t reason);

typedef struct kvi_probe {
  uint32_t struct_size;
  int32_t miss_reason; /* KVI_MISS_*: why the tokens from first_miss on are not cached */
  /* position of the first token that is not cached; the number of tokens if all are */
  uint32_t first_miss;
  uint32_t device_tokens; /* can be used at once */
  uint32_t host_tokens;   /* are copied to the device first */
  uint32_t disk_tokens;   /* likewise */
} kvi_probe;
KVI_API kvi_status KVI_CALL kvi_probe_init(kvi_probe* probe, size_t struct_size);

typedef struct kvi_preload_options {
  uint32_t struct_size;
  int32_t scope;       /* KVI_SCOPE_TENANT; with KVI_SCOPE_SHARED the call's tenant is ignored */
  int32_t pin_tier;    /* KVI_TIER_DEVICE: the tier that keeps it while the handle lives */
  int32_t band;        /* KVI_BAND_NORMAL: when it is evicted, once it is not pinned any more */
  uint32_t ttl_ms;     /* KVI_FOREVER: after this time the pin ends, even if the handle lives */
  uint32_t timeout_ms; /* KVI_FOREVER: the longest time that computing may take */
} kvi_preload_options;
KVI_API kvi_status KVI_CALL kvi_preload_options_init(kvi_preload_options* options,
                                                     size_t struct_size);

typedef struct kvi_prefix_info {
  uint32_t struct_size;
  int32_t tier;        /* KVI_TIER_* */
  uint32_t num_tokens; /* how many are pinned */
  uint32_t held;       /* 1; 0: its time is over, or the engine was closed */
} kvi_prefix_info;
KVI_API kvi_status KVI_CALL kvi_prefix_info_init(kvi_prefix_info* info, size_t struct_size);

/* Says how much of a prompt is cached, where, and why the rest is not. The answer was true when it was given, and may
 * have changed since. Nothing is reserved or moved. If the disk tier's folder has files of other engines, the first probe
 * of unknown tokens reads the keys in them, for up to 0.2 s.
 *  tenant, tenant_size  NULL with 0: ""
 *  tokens, count
 * Errors: INVALID_ARGUMENT, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_probe(kvi_engine* engine, const char* tenant,
                                            size_t tenant_size, const int32_t* tokens, size_t count,
                                            kvi_probe* probe, kvi_error** error);
/* Computes those of the tokens that are not cached, and pins all of them: they are not evicted while the pin lasts.
 * Blocks until that is done; other requests go on meanwhile.
 *  options  NULL: the defaults
 *  out      the pin, one reference
 * Errors: INVALID_ARGUMENT, CONTEXT_FULL, EXHAUSTED, UNSUPPORTED (no such tier), TIMEOUT, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_preload(kvi_engine* engine, const char* tenant,
                                              size_t tenant_size, const int32_t* tokens,
                                              size_t count, const kvi_preload_options* options,
                                              kvi_prefix** out, kvi_error** error);
/* Pins the part of the tokens that is cached, in whole pages. Computes nothing. Of the options scope and timeout_ms are
 * not used. Errors: NOT_FOUND (nothing is cached), BUSY (retryable: pages are being moved between tiers), and those of
 * kvi_cache_preload. */
KVI_API kvi_status KVI_CALL kvi_cache_pin(kvi_engine* engine, const char* tenant,
                                          size_t tenant_size, const int32_t* tokens, size_t count,
                                          const kvi_preload_options* options, kvi_prefix** out,
                                          kvi_error** error);
KVI_API kvi_status KVI_CALL kvi_prefix_get_info(kvi_prefix* prefix, kvi_prefix_info* info,
                                                kvi_error** error);
/* Ends the pin: the prefix stays cached until its memory is wanted. */
KVI_API void KVI_CALL kvi_prefix_release(kvi_prefix* prefix);
/* Begins to copy cached tokens from lower tiers to the device, and returns at once.
 *  num_tokens  out, or NULL: how many tokens are on the device or on their way to it
 * Errors: INVALID_ARGUMENT, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_prefetch(kvi_engine* engine, const char* tenant,
                                               size_t tenant_size, const int32_t* tokens,
                                               size_t count, uint32_t* num_tokens,
                                               kvi_error** error);
/* Drops these tokens from all tiers, with every cached text that continues them. The beginning of the tokens stays as far
 * as another cached text begins with it. What is pinned or in use stays. Errors: INVALID_ARGUMENT, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_evict(kvi_engine* engine, const char* tenant,
                                            size_t tenant_size, const int32_t* tokens, size_t count,
                                            kvi_error** error);
/* Drops everything that is cached for one tenant; for everybody if tenant is NULL and tenant_size 0. What is pinned or in
 * use stays. Errors: INVALID_ARGUMENT, CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_clear(kvi_engine* engine, const char* tenant,
                                            size_t tenant_size, kvi_error** error);

typedef struct kvi_tier_stats {
  uint32_t struct_size;
  int32_t tier;          /* KVI_TIER_* */
  uint64_t budget_bytes; /* 0: there is no such tier */
  uint64_t mapped_bytes; /* memory, or disk space, that is taken */
  /* Of the device: pages that sessions and pins hold. Of host and disk: all copies there */
  uint64_t used_bytes;
  /* A part of used_bytes. Of the device: held pages that later prompts can find too. Of host and disk: copies that are
   * kept for suspended sessions and pins */
  uint64_t pinned_bytes;
  uint64_t cached_bytes; /* pages that nobody holds: they are evicted when memory is wanted */
  /* Pages that nobody holds and a transfer still reads or writes: they stay until it has ended */
  uint64_t deferred_bytes;
  uint64_t hit_tokens; /* tokens of prompts that were found in this tier */
  uint64_t evicted_pages;
  uint64_t stored_bytes; /* copied from the device to this tier */
  uint64_t loaded_bytes; /* copied from this tier to the device */
} kvi_tier_stats;
typedef struct kvi_cache_stats {
  uint32_t struct_size;
  uint32_t num_pins;
  uint64_t queried_tokens; /* tokens of prompts for which the cache was asked */
  uint64_t indexed_pages;
  uint64_t granule_bytes; /* memory is taken and given back in pieces of this size */
  uint64_t preemptions_swapped;
  uint64_t preemptions_recomputed;
  uint64_t failed_transfers;
} kvi_cache_stats;
KVI_API kvi_status KVI_CALL kvi_tier_stats_init(kvi_tier_stats* stats, size_t struct_size);
KVI_API kvi_status KVI_CALL kvi_cache_stats_init(kvi_cache_stats* stats, size_t struct_size);
/* Counters since the engine was created, and what there is now. Errors: INVALID_ARGUMENT. */
KVI_API kvi_status KVI_CALL kvi_cache_get_stats(kvi_engine* engine, kvi_cache_stats* stats,
                                                kvi_error** error);
/* The same for one tier, KVI_TIER_*. A tier that the engine does not have is all zero. Errors: INVALID_ARGUMENT. */
KVI_API kvi_status KVI_CALL kvi_cache_get_tier_stats(kvi_engine* engine, int32_t tier,
                                                     kvi_tier_stats* stats, kvi_error** error);

enum { KVI_EVENT_STORED = 0, KVI_EVENT_REMOVED = 1 };
/* In an array, elements are events[0].struct_size bytes apart. */
typedef struct kvi_cache_event {
  uint32_t struct_size;
  int32_t kind;        /* KVI_EVENT_* */
  int32_t tier;        /* KVI_TIER_* */
  uint32_t num_tokens; /* of the prefix that ends with this page */
  uint64_t number;     /* counts up from 1; a gap says how many events were lost */
  /* names the prefix: SHA-256 over what computes it, whose it is, and its tokens */
  uint8_t key[32];
  uint8_t parent[32]; /* the key of the prefix without its last page */
} kvi_cache_event;
KVI_API kvi_status KVI_CALL kvi_cache_event_init(kvi_cache_event* event, size_t struct_size);
/* Takes the oldest events: which pages came into the prefix index and left it.
 *  events, capacity  out; events[0] is prepared with its _init function
 *  count             out: how many, 0 when there are none
 * Errors: INVALID_ARGUMENT, INVALID_STATE (the engine's cache_events is 0), CLOSED. */
KVI_API kvi_status KVI_CALL kvi_cache_events(kvi_engine* engine, kvi_cache_event* events,
                                             size_t capacity, size_t* count, kvi_error** error);

/* ---- score ------------------------------------------------------------------------------------- */

/* Teacher-forced: what the model thinks of tokens that are given. Blocks; runs beside other requests.
 *  tokens, count  at least 2
 *  first          1 <= first < count: results are for tokens[first] .. tokens[count - 1]
 *  logprobs       out, or NULL: [count - first] log-probability of each of these tokens
 *  top1           out, or NULL: [count - first] the most probable token at its place
 *  logits         out, or NULL: [count - first][vocab_size]
 * Errors: INVALID_ARGUMENT, CONTEXT_FULL, EXHAUSTED, CLOSED. Any thread. */
KVI_API kvi_status KVI_CALL kvi_score(kvi_engine* engine, const int32_t* tokens, size_t count,
                                      size_t first, float* logprobs, int32_t* top1, float* logits,
                                      kvi_error** error);

#ifdef __cplusplus
}
#endif

#endif /* KVINFER_KVINFER_H_ */
