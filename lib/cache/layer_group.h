// Layers whose K and V live and die together: full attention, or one window width.
#pragma once

#include "tensor/layout.h"

namespace kvi {

struct LayerGroup {
  PageLayout layout;
  int window = 0;  // tokens; 0: all
};

}  // namespace kvi
