// The copies of the rasteriser, one per instruction set, that dispatch.cpp chooses between.
#pragma once

#include "cpu/isa.h"
#include "frnet/rasterize.h"

FRNET_IN_EVERY_ISA(size_t rasterize_workspace(const RasterizeArgs& args);
                   void rasterize(const RasterizeArgs& args, const Parallel& parallel);)
