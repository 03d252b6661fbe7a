// kvinfer.hpp - libkvinfer for C++17: RAII over kvinfer.h, which is the manual.
//
// Header-only. Handles are move-only and give themselves back. Every call that can fail comes in two
// forms: open() throws kvinfer::Error; try_open() returns Result<T>, and is all there is where
// exceptions are off (-fno-exceptions).
//
// Threads: as kvinfer.h. Functions given to the library must not throw.
#ifndef KVINFER_KVINFER_HPP_
#define KVINFER_KVINFER_HPP_

#include <kvinfer/cache.hpp>
#include <kvinfer/engine.hpp>
#include <kvinfer/errors.hpp>
#include <kvinfer/model.hpp>
#include <kvinfer/options.hpp>
#include <kvinfer/plan.hpp>
#include <kvinfer/session.hpp>
#include <kvinfer/snapshot.hpp>

#endif  // KVINFER_KVINFER_HPP_
