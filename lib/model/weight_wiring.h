// Which tensor of a file goes where in the layers of a model, with every name and shape checked.
//
// Reads no weights itself: it lists them for ModelWeights to load or to measure.
#pragma once

#include <string>
#include <vector>

#include "format/model_file.h"
#include "model/architecture.h"
#include "model/weights.h"

namespace kvi {

struct MatrixUse {
  const TensorInfo* tensor;
  int64_t first_row, rows;  // of the tensor: fused ones are used in slices
  std::vector<const Matrix**> targets;
};
struct VectorUse {
  const TensorInfo* tensor;
  int64_t first, size;  // elements
  float offset;         // added to each value
  const Vector** target;
};

class WeightWiring {
 public:
  // Fills weights' structure; its matrix and vector pointers wait for what is listed here.
  WeightWiring(const ModelFile& file, const ModelConfig& config, ModelWeights& weights);

  const std::vector<MatrixUse>& matrices() const { return matrices_; }
  const std::vector<VectorUse>& vectors() const { return vectors_; }

 private:
  void wire_attention(int layer, AttentionWeights& attention);
  void wire_mlp(int layer, MlpWeights& mlp);

  // Rows [first_row, first_row + rows) of tensor `stem`.weight, and of `stem`.bias where there is one.
  void linear(const std::string& stem, int64_t rows, int64_t cols, Linear& target,
              int64_t first_row = 0, int64_t tensor_rows = 0);
  void matrix(const std::string& name, int64_t rows, int64_t cols, const Matrix** target);
  void norm(const std::string& stem, int64_t size, Norm& target);
  const TensorInfo& require(const std::string& name, int64_t rows, int64_t cols) const;

  const ModelFile& file_;
  const ModelConfig& config_;
  std::vector<MatrixUse> matrices_;
  std::vector<VectorUse> vectors_;
};

}  // namespace kvi
