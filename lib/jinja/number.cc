// Python's arithmetic: integers of 64 bits that never wrap, floats, floor division and modulo.
#include <cmath>

#include "base/text.h"
#include "jinja/runtime.h"

namespace kvi::jinja {
namespace {

[[noreturn]] void fail_overflow(Runtime& runtime) {
  runtime.fail_unsupported("an integer beyond 64 bits");
}

int64_t integer_power(Runtime& runtime, int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (true) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow(runtime);
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) fail_overflow(runtime);
  }
}

// requires: b != 0, and not INT64_MIN / -1
int64_t floor_divide(int64_t a, int64_t b) {
  int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Value integer_operation(Runtime& runtime, BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case BinaryOp::add:
      if (__builtin_add_overflow(a, b, &result)) fail_overflow(runtime);
      return result;
    case BinaryOp::subtract:
      if (__builtin_sub_overflow(a, b, &result)) fail_overflow(runtime);
      return result;
    case BinaryOp::multiply:
      if (__builtin_mul_overflow(a, b, &result)) fail_overflow(runtime);
      return result;
    case BinaryOp::floor_divide:
      if (a == INT64_MIN && b == -1) fail_overflow(runtime);
      return floor_divide(a, b);
    case BinaryOp::modulo: return b == -1 ? int64_t{0} : a - floor_divide(a, b) * b;
    default: return integer_power(runtime, a, b);
  }
}

double float_modulo(double a, double b) {
  double rest = std::fmod(a, b);
  if (rest != 0) return (b < 0) != (rest < 0) ? rest + b : rest;
  return std::copysign(0.0, b);
}

double float_floor_divide(double a, double b) {
  double quotient = (a - float_modulo(a, b)) / b;
  double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

double float_power(Runtime& runtime, double a, double b) {
  if (a == 0 && b < 0) runtime.fail("zero to a negative power");
  double result = std::pow(a, b);
  if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) {
    runtime.fail_unsupported("a power that is a complex number");
  }
  if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) runtime.fail("a power is too large");
  return result;
}

}  // namespace

Value number_operation(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  bool divides = op == BinaryOp::divide || op == BinaryOp::floor_divide || op == BinaryOp::modulo;
  if (divides && !b.truthy()) runtime.fail("division by zero");
  if (op == BinaryOp::divide && a.is_int() && b.is_int()) {
    return static_cast<double>(static_cast<long double>(a.as_int()) / b.as_int());
  }
  if (a.is_int() && b.is_int() && (op != BinaryOp::power || b.as_int() >= 0)) {
    return integer_operation(runtime, op, a.as_int(), b.as_int());
  }
  double x = a.as_float(), y = b.as_float();
  switch (op) {
    case BinaryOp::add: return x + y;
    case BinaryOp::subtract: return x - y;
    case BinaryOp::multiply: return x * y;
    case BinaryOp::divide: return x / y;
    case BinaryOp::floor_divide: return float_floor_divide(x, y);
    case BinaryOp::modulo: return float_modulo(x, y);
    default: return float_power(runtime, x, y);
  }
}

}  // namespace kvi::jinja
