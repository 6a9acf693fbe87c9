//! ggml's own gradients, for tests: graphs of its operations, and what its backward pass makes of them.
//!
//! Not a part of the library, and nothing of the trainer's: it exists to be a second opinion. ggml checks shapes by
//! itself and ends the process where they do not fit. Invariant: a [`Node`] lives no longer than the [`Graph`] whose
//! memory it lies in, and memory is never taken twice.

use std::marker::PhantomData;
use std::os::raw::c_int;

/// Memory of a graph, its numbers and its gradients.
const N_BYTES: usize = 256 << 20;
/// Most nodes of a graph, those of the backward pass too.
const N_NODES: usize = 1 << 14;

/// A graph in the making.
pub(crate) struct Graph(*mut ggml_sys::ggml_context);

/// A value of the graph.
#[derive(Clone, Copy)]
pub(crate) struct Node<'g>(*mut ggml_sys::ggml_tensor, PhantomData<&'g Graph>);

/// How positions are turned into angles.
pub(crate) struct Rope<'g> {
    pub(crate) positions: Node<'g>,
    pub(crate) factors: Option<Node<'g>>,
    pub(crate) n_dims: usize,
    /// The first half of a head with the second, instead of neighbours.
    pub(crate) halves: bool,
    pub(crate) base: f32,
    pub(crate) scale: f32,
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap()
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the context came from ggml_init and is freed once; nodes borrow the graph and are gone by now.
        unsafe { ggml_sys::ggml_free(self.0) };
    }
}

impl Graph {
    pub(crate) fn new() -> Self {
        let params = ggml_sys::ggml_init_params {
            mem_size: N_BYTES,
            mem_buffer: std::ptr::null_mut(),
            no_alloc: false,
        };
        // SAFETY: ggml takes the memory by itself, as much as it is told.
        let context = unsafe { ggml_sys::ggml_init(params) };
        assert!(!context.is_null(), "ggml has no memory");
        Self(context)
    }

    fn node(&self, tensor: *mut ggml_sys::ggml_tensor) -> Node<'_> {
        assert!(!tensor.is_null(), "ggml made no tensor");
        Node(tensor, PhantomData)
    }

    fn filled(&self, kind: u32, shape: [usize; 2], bytes: &[u8]) -> Node<'_> {
        // SAFETY: the context is alive; the function takes memory for the tensor out of it or ends the process.
        let node =
            self.node(unsafe { ggml_sys::ggml_new_tensor_2d(self.0, kind, int(shape[0]), int(shape[1])) });
        // SAFETY: without `no_alloc` the tensor's data lies in the context, as many bytes as ggml_nbytes says, which is
        // compared with the slice's; nothing else has a reference to a tensor that was just made.
        unsafe {
            assert_eq!(ggml_sys::ggml_nbytes(node.0), bytes.len());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), (*node.0).data.cast::<u8>(), bytes.len());
        }
        node
    }

    /// A matrix of fixed numbers, in ggml's order.
    pub(crate) fn floats(&self, shape: [usize; 2], numbers: &[f32]) -> Node<'_> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.filled(ggml_sys::GGML_TYPE_F32, shape, &bytes)
    }

    /// A list of fixed integers.
    pub(crate) fn ints(&self, numbers: &[i32]) -> Node<'_> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.filled(ggml_sys::GGML_TYPE_I32, [numbers.len(), 1], &bytes)
    }

    /// A matrix whose gradient is asked for.
    pub(crate) fn param(&self, shape: [usize; 2], numbers: &[f32]) -> Node<'_> {
        let node = self.floats(shape, numbers);
        // SAFETY: the tensor is alive and a leaf.
        unsafe { ggml_sys::ggml_set_param(node.0) };
        node
    }

    /// The loss's value and the gradient of each of `params`.
    pub(crate) fn backward(&self, loss: Node<'_>, params: &[Node<'_>]) -> (f32, Vec<Vec<f32>>) {
        // SAFETY: the context and all nodes are alive, and belong to each other. The graph's memory is in the context;
        // all its tensors have memory of their own, so the loss is set (to 1 in backward) before it is computed, and
        // read after. Tensors are read as floats when ggml says that they are floats and contiguous.
        unsafe {
            ggml_sys::ggml_set_loss(loss.0);
            let graph = ggml_sys::ggml_new_graph_custom(self.0, N_NODES, true);
            ggml_sys::ggml_build_forward_expand(graph, loss.0);
            ggml_sys::ggml_build_backward_expand(self.0, graph, std::ptr::null_mut());
            ggml_sys::ggml_graph_reset(graph);
            let status = ggml_sys::ggml_graph_compute_with_ctx(self.0, graph, 1);
            assert_eq!(status, ggml_sys::GGML_STATUS_SUCCESS);
            let read = |tensor: *mut ggml_sys::ggml_tensor| {
                assert!(!tensor.is_null(), "there is no gradient");
                assert_eq!((*tensor).type_, ggml_sys::GGML_TYPE_F32);
                assert!(ggml_sys::ggml_is_contiguous(tensor));
                let n = usize::try_from(ggml_sys::ggml_nelements(tensor)).unwrap();
                std::slice::from_raw_parts((*tensor).data.cast::<f32>(), n).to_vec()
            };
            let grads = params.iter().map(|p| read(ggml_sys::ggml_graph_get_grad(graph, p.0))).collect();
            (read(loss.0)[0], grads)
        }
    }
}

/// Operations of ggml's with operands and plain numbers alone.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($operand:ident),+ $(; $arg:ident: $kind:ty)?) = $call:path;)+) => {
        impl<'g> Graph {
            $($(#[$doc])*
            pub(crate) fn $name(&'g self, $($operand: Node<'g>,)+ $($arg: $kind)?) -> Node<'g> {
                // SAFETY: the context and the operands are alive, which their lifetimes say; ggml checks shapes and
                // takes the result's memory out of the context, or ends the process.
                self.node(unsafe { $call(self.0, $($operand.0,)+ $($arg)?) })
            })+
        }
    };
}

operations! {
    /// aᵀ b, rows of `a` against rows of `b`.
    mul_mat(a, b) = ggml_sys::ggml_mul_mat;
    /// Element by element; `b` is repeated.
    add(a, b) = ggml_sys::ggml_add;
    /// Element by element; `b` is repeated.
    mul(a, b) = ggml_sys::ggml_mul;
    scale(a; by: f32) = ggml_sys::ggml_scale;
    rms_norm(a; eps: f32) = ggml_sys::ggml_rms_norm;
    silu(a) = ggml_sys::ggml_silu;
    log(a) = ggml_sys::ggml_log;
    softplus(a) = ggml_sys::ggml_softplus;
    sum(a) = ggml_sys::ggml_sum;
    sum_rows(a) = ggml_sys::ggml_sum_rows;
    soft_max(a) = ggml_sys::ggml_soft_max;
    cont(a) = ggml_sys::ggml_cont;
}

impl<'g> Graph {
    /// Softmax of `a` times a scale, under an added mask.
    pub(crate) fn masked_soft_max(&'g self, a: Node<'g>, mask: Node<'g>, scale: f32) -> Node<'g> {
        // SAFETY: as for the other operations.
        self.node(unsafe { ggml_sys::ggml_soft_max_ext(self.0, a.0, mask.0, scale, 0.0) })
    }

    pub(crate) fn reshape(&'g self, a: Node<'g>, [x, y, z]: [usize; 3]) -> Node<'g> {
        // SAFETY: as for the other operations.
        self.node(unsafe { ggml_sys::ggml_reshape_3d(self.0, a.0, int(x), int(y), int(z)) })
    }

    /// Dimension i becomes dimension `to[i]`.
    pub(crate) fn permute(&'g self, a: Node<'g>, to: [c_int; 3]) -> Node<'g> {
        // SAFETY: as for the other operations.
        self.node(unsafe { ggml_sys::ggml_permute(self.0, a.0, to[0], to[1], to[2], 3) })
    }

    /// Heads turned to their positions.
    pub(crate) fn rope(&'g self, a: Node<'g>, rope: &Rope<'g>) -> Node<'g> {
        let factors = rope.factors.map_or(std::ptr::null_mut(), |f| f.0);
        // GGML_ROPE_TYPE_NEOX and GGML_ROPE_TYPE_NORMAL of ggml.h.
        let mode = if rope.halves { 2 } else { 0 };
        let (context, positions, n_dims) = (self.0, rope.positions.0, c_int::try_from(rope.n_dims).unwrap());
        let Rope { base, scale, .. } = *rope;
        // SAFETY: as for the other operations; a null `factors` stands for none.
        self.node(unsafe {
            ggml_sys::ggml_rope_ext(
                context, a.0, positions, factors, n_dims, mode, 0, base, scale, 0.0, 1.0, 0.0, 0.0,
            )
        })
    }
}
