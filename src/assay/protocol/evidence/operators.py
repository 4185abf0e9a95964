"""The closed list of operators that a program may name.

All are functions of their arguments: none mutates, draws from a generator, reads uninitialised memory, or has an output
whose shape depends on values. None can read or write outside its operands: what a kernel does not check itself is a
rule of `operand_rules`.
`aten.*` are operators of PyTorch's ATen library under their schema names; `assay.*` are the counter-based draws
(`spec/randomness.md`), the fused updates of optimizers, one parameter at a time (PRG-21), and a sum with a factor
that was computed (PRG-22). Adding a name is a change of the format; removing one never happens after the first
release.

Source: `spec/program.md`.
"""

OPERATORS: frozenset[str] = frozenset(
    """
    assay.add_scaled.default assay.bernoulli.default assay.fused_adagrad.default assay.fused_adam.amsgrad
    assay.fused_adam.default assay.fused_adamw.amsgrad assay.fused_adamw.default assay.fused_sgd.default
    assay.fused_sgd.first assay.fused_sgd.momentum assay.integers.default assay.normal.default
    assay.permutation.default assay.uniform.default aten._adaptive_avg_pool2d.default
    aten._adaptive_avg_pool2d_backward.default aten._embedding_bag.default aten._embedding_bag_backward.default
    aten._foreach_clamp_max.Scalar aten._foreach_clamp_min.Scalar aten._foreach_div.Tensor aten._foreach_mul.Scalar
    aten._foreach_mul.Tensor aten._foreach_norm.Scalar aten._fused_rms_norm.default
    aten._fused_rms_norm_backward.default aten._log_softmax.default aten._log_softmax_backward_data.default
    aten._native_batch_norm_legit.no_stats aten._native_batch_norm_legit_functional.default aten._prelu_kernel.default
    aten._prelu_kernel_backward.default aten._safe_softmax.default
    aten._scaled_dot_product_flash_attention_for_cpu.default
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default aten._softmax.default
    aten._softmax_backward_data.default aten._thnn_fused_lstm_cell.default aten._to_copy.default
    aten._unsafe_index.Tensor aten._unsafe_index_put.default aten._weight_norm_interface.default
    aten._weight_norm_interface_backward.default aten.abs.default aten.acos.default aten.acosh.default
    aten.adaptive_max_pool2d.default aten.adaptive_max_pool2d_backward.default aten.add.Scalar aten.add.Tensor
    aten.addbmm.default aten.addcdiv.default aten.addcmul.default aten.addmm.default aten.addmv.default
    aten.all.default aten.all.dim aten.amax.default aten.amin.default aten.any.default aten.any.dim
    aten.arange.default aten.arange.start aten.arange.start_step aten.argmax.default aten.argmin.default
    aten.as_strided.default aten.as_strided_scatter.default aten.asin.default aten.asinh.default aten.atan.default
    aten.atan2.default aten.atanh.default aten.avg_pool2d.default aten.avg_pool2d_backward.default
    aten.baddbmm.default aten.binary_cross_entropy.default aten.binary_cross_entropy_backward.default
    aten.binary_cross_entropy_with_logits.default aten.bitwise_and.Scalar aten.bitwise_and.Tensor
    aten.bitwise_not.default aten.bitwise_or.Scalar aten.bitwise_or.Tensor aten.bitwise_xor.Scalar
    aten.bitwise_xor.Tensor aten.bmm.default aten.bucketize.Tensor aten.cat.default aten.ceil.default
    aten.channel_shuffle.default aten.chunk.default aten.clamp.Tensor aten.clamp.default aten.clamp_max.Tensor
    aten.clamp_max.default aten.clamp_min.Tensor aten.clamp_min.default aten.clone.default aten.col2im.default
    aten.constant_pad_nd.default aten.convolution.default aten.convolution_backward.default aten.copy.default
    aten.cos.default aten.cosh.default aten.cumprod.default aten.cumsum.default aten.diagonal.default
    aten.diagonal_backward.default aten.digamma.default aten.div.Scalar aten.div.Scalar_mode aten.div.Tensor
    aten.div.Tensor_mode aten.dot.default aten.elu.default aten.elu_backward.default aten.embedding.default
    aten.embedding_dense_backward.default aten.eq.Scalar aten.eq.Tensor aten.erf.default aten.erfc.default
    aten.erfinv.default aten.exp.default aten.exp2.default aten.expand.default aten.expm1.default aten.eye.default
    aten.eye.m aten.fill.Scalar aten.fill.Tensor aten.flip.default aten.floor.default aten.floor_divide.default
    aten.fmod.Scalar aten.fmod.Tensor aten.frac.default aten.full.default aten.full_like.default aten.gather.default
    aten.ge.Scalar aten.ge.Tensor aten.gelu.default aten.gelu_backward.default aten.glu.default
    aten.glu_backward.default aten.gt.Scalar aten.gt.Tensor aten.hardshrink.default aten.hardshrink_backward.default
    aten.hardsigmoid.default aten.hardsigmoid_backward.default aten.hardswish.default aten.hardswish_backward.default
    aten.hardtanh.default aten.hardtanh_backward.default aten.huber_loss.default aten.huber_loss_backward.default
    aten.im2col.default aten.index.Tensor aten.index_add.default aten.index_fill.int_Scalar aten.index_put.default
    aten.index_select.default aten.isinf.default aten.isnan.default aten.le.Scalar aten.le.Tensor
    aten.leaky_relu.default aten.leaky_relu_backward.default aten.lerp.Scalar aten.lerp.Tensor aten.lgamma.default
    aten.linalg_qr.default aten.linalg_vector_norm.default aten.linspace.default aten.log.default aten.log10.default
    aten.log1p.default aten.log2.default aten.log_sigmoid_backward.default aten.log_sigmoid_forward.default
    aten.logaddexp.default aten.logical_and.default aten.logical_not.default aten.logical_or.default
    aten.logical_xor.default aten.logit.default aten.logit_backward.default aten.logsumexp.default aten.lt.Scalar
    aten.lt.Tensor aten.masked_fill.Scalar aten.masked_fill.Tensor aten.max.default aten.max.dim
    aten.max_pool2d_with_indices.default aten.max_pool2d_with_indices_backward.default aten.maximum.default
    aten.mean.default aten.mean.dim aten.min.default aten.min.dim aten.minimum.default aten.mish.default
    aten.mish_backward.default aten.mm.default aten.mse_loss.default aten.mse_loss_backward.default aten.mul.Scalar
    aten.mul.Tensor aten.multi_margin_loss.default aten.multi_margin_loss_backward.default
    aten.multilabel_margin_loss_backward.default aten.multilabel_margin_loss_forward.default aten.mv.default
    aten.nan_to_num.default aten.native_batch_norm.default aten.native_batch_norm_backward.default
    aten.native_group_norm.default aten.native_group_norm_backward.default aten.native_layer_norm.default
    aten.native_layer_norm_backward.default aten.ne.Scalar aten.ne.Tensor aten.neg.default aten.new_full.default
    aten.new_ones.default aten.new_zeros.default aten.nll_loss2d_backward.default aten.nll_loss2d_forward.default
    aten.nll_loss_backward.default aten.nll_loss_forward.default aten.norm.Scalar aten.norm.ScalarOpt_dim
    aten.norm.ScalarOpt_dim_dtype aten.ones.default aten.ones_like.default aten.permute.default
    aten.pixel_shuffle.default aten.pixel_unshuffle.default aten.pow.Scalar aten.pow.Tensor_Scalar
    aten.pow.Tensor_Tensor aten.prod.default aten.prod.dim_int aten.reciprocal.default aten.reflection_pad1d.default
    aten.reflection_pad1d_backward.default aten.reflection_pad2d.default aten.reflection_pad2d_backward.default
    aten.reflection_pad3d.default aten.reflection_pad3d_backward.default aten.relu.default aten.remainder.Scalar
    aten.remainder.Tensor aten.repeat.default aten.replication_pad1d.default aten.replication_pad1d_backward.default
    aten.replication_pad2d.default aten.replication_pad2d_backward.default aten.replication_pad3d.default
    aten.replication_pad3d_backward.default aten.roll.default aten.round.default aten.rsqrt.default aten.rsub.Scalar
    aten.rsub.Tensor aten.scalar_tensor.default aten.scatter.src aten.scatter.value aten.scatter_add.default
    aten.scatter_reduce.two aten.searchsorted.Tensor aten.select.int aten.select_backward.default
    aten.select_scatter.default aten.sgn.default aten.sigmoid.default aten.sigmoid_backward.default aten.sign.default
    aten.silu.default aten.silu_backward.default aten.sin.default aten.sinh.default aten.slice.Tensor
    aten.slice_backward.default aten.slice_scatter.default aten.smooth_l1_loss.default
    aten.smooth_l1_loss_backward.default aten.soft_margin_loss.default aten.soft_margin_loss_backward.default
    aten.softplus.default aten.softplus_backward.default aten.softshrink.default aten.softshrink_backward.default
    aten.sort.default aten.sort.stable aten.split.Tensor aten.split_with_sizes.default aten.sqrt.default
    aten.square.default aten.squeeze.default aten.squeeze.dim aten.squeeze.dims aten.stack.default aten.std.correction
    aten.sub.Scalar aten.sub.Tensor aten.sum.default aten.sum.dim_IntList aten.t.default aten.tan.default
    aten.tanh.default aten.tanh_backward.default aten.threshold.default aten.threshold_backward.default
    aten.topk.default aten.tril.default aten.triu.default aten.trunc.default aten.unbind.int aten.unfold.default
    aten.unfold_backward.default aten.unsafe_split.Tensor aten.unsafe_split_with_sizes.default aten.unsqueeze.default
    aten.upsample_bicubic2d.default aten.upsample_bicubic2d.vec aten.upsample_bicubic2d_backward.default
    aten.upsample_bilinear2d.default aten.upsample_bilinear2d.vec aten.upsample_bilinear2d_backward.default
    aten.upsample_nearest2d.default aten.upsample_nearest2d.vec aten.upsample_nearest2d_backward.default
    aten.value_selecting_reduction_backward.default aten.var.correction aten.var_mean.correction aten.vdot.default
    aten.view.default aten.where.Scalar aten.where.ScalarOther aten.where.ScalarSelf aten.where.self
    aten.xlogy.Scalar_Other aten.xlogy.Scalar_Self aten.xlogy.Tensor aten.zeros.default aten.zeros_like.default
    """.split()
)
