// What each instruction set puts into its table; see runtime/kernels.h.
#pragma once

#include "runtime/kernels.h"

FRNET_IN_EVERY_ISA(                                                                                                //
    void runtime_pointwise(const frnet::runtime::PointwiseArgs& a, int64_t first_panel, int64_t last_panel,        //
                           int64_t first_pixel, int64_t last_pixel);                                               //
    void runtime_stem(const float* planes, int32_t height, int32_t width, const frnet::runtime::PointwiseArgs& a,  //
                      int64_t first_row, int64_t last_row, float* scratch);                                        //
    void runtime_stage(const frnet::runtime::StageArgs& a, int64_t chain, int64_t first_row, int64_t last_row,     //
                       float* scratch);                                                                            //
    void runtime_depthwise(const frnet::runtime::DepthwiseArgs& a, int64_t first_row, int64_t last_row);
    int64_t runtime_stage_scratch(const frnet::runtime::StageArgs& a);                                  //
    void runtime_sge_gates(const frnet::runtime::SgeArgs& a, int64_t first_group, int64_t last_group);  //
    void runtime_sge_apply(const frnet::runtime::SgeArgs& a, int64_t first_block, int64_t last_block);  //
    void runtime_excite(const frnet::runtime::ExciteArgs& a);                                           //
    void runtime_plane_sums(const float* x, int64_t block_stride, int64_t pixels, int64_t first_block,  //
                            int64_t last_block, float* sums);                                           //
    void runtime_scale_planes(float* x, int64_t block_stride, int64_t pixels, const float* scale,       //
                              Activation activation, int64_t first_block, int64_t last_block);          //
    const frnet::runtime::Kernels& runtime_kernels();)
