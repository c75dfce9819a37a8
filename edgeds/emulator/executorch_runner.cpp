// Runs an ExecuTorch program in the emulator, without torch and without Python:  executorch_runner PROGRAM FOLDER BATCHES
//
// FOLDER/input_K.raw holds BATCHES times the K-th input of `forward`, float32, contiguous; FOLDER/output_K.raw is written alike, in the
// output's own type. Prints a JSON object with the shapes and types of both. Where BATCHES is 0 it prints only that. Batch 0 runs last, twice: once
// to warm up and once as the marked region (see plugin.c).
//
// No type of the C++ library crosses into ExecuTorch's libraries, which were built with another one.
#include <executorch/extension/data_loader/buffer_data_loader.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/core/memory_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;

namespace {

constexpr size_t kAlignment = 64, kMaxBuffers = 64, kMaxPath = 4096;
enum Mark { kBegin = 1, kEnd = 2, kWarm = 3 };

void mark(Mark code) { syscall(SYS_getpgid, 0x51D0000 | code); }

[[noreturn]] void fail(const char *what, int detail) {
  fprintf(stderr, "%s (%d)\n", what, detail);
  exit(1);
}

void check(Error error, const char *what) {
  if (error != Error::Ok) fail(what, static_cast<int>(error));
}

void *allocate(size_t size) {
  void *memory = aligned_alloc(kAlignment, (size + kAlignment) / kAlignment * kAlignment);
  if (!memory) fail("out of memory", 0);
  return memory;
}

// Memory of any size, where ExecuTorch's own allocator has a fixed pool: what is never touched must not count as resident.
class Heap : public MemoryAllocator {
 public:
  Heap() : MemoryAllocator(0, nullptr) {}
  void *allocate(size_t size, size_t alignment = kDefaultAlignment) override {
    auto *start = static_cast<char *>(::allocate(kAlignment + size + alignment));
    *reinterpret_cast<void **>(start) = last_;
    last_ = start;
    auto address = reinterpret_cast<uintptr_t>(start) + kAlignment;
    return reinterpret_cast<void *>((address + alignment - 1) / alignment * alignment);
  }
  void reset() override {
    while (last_) {
      void *before = *static_cast<void **>(last_);
      free(last_);
      last_ = before;
    }
  }

 private:
  void *last_ = nullptr;
};

const char *path(const char *folder, const char *kind, size_t k) {
  static char text[kMaxPath];
  snprintf(text, sizeof text, "%s/%s_%zu.raw", folder, kind, k);
  return text;
}

void *read_file(const char *name, size_t *size) {
  FILE *file = fopen(name, "rb");
  if (!file) fail("cannot open the program", 0);
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  void *data = allocate(*size);
  if (fread(data, 1, *size, file) != *size) fail("cannot read the program", 0);
  fclose(file);
  return data;
}

void print_tensor(const char *separator, const TensorInfo &tensor) {
  printf("%s{\"type\": %d, \"shape\": [", separator, static_cast<int>(tensor.scalar_type()));
  for (size_t i = 0; i < tensor.sizes().size(); i++) printf("%s%d", i ? ", " : "", static_cast<int>(tensor.sizes()[i]));
  printf("]}");
}

TensorInfo input_info(const MethodMeta &meta, size_t k) {
  auto info = meta.input_tensor_meta(k);
  if (!info.ok()) fail("an input is no tensor", static_cast<int>(k));
  return *info;
}

TensorInfo output_info(const MethodMeta &meta, size_t k) {
  auto info = meta.output_tensor_meta(k);
  if (!info.ok()) fail("an output is no tensor", static_cast<int>(k));
  return *info;
}

void print_meta(const MethodMeta &meta) {
  printf("{\"inputs\": [");
  for (size_t k = 0; k < meta.num_inputs(); k++) print_tensor(k ? ", " : "", input_info(meta, k));
  printf("], \"outputs\": [");
  for (size_t k = 0; k < meta.num_outputs(); k++) print_tensor(k ? ", " : "", output_info(meta, k));
  printf("]}\n");
}

// Reads the batch into the k-th input, which is given memory where the program has planned none.
void feed(Method &method, const MethodMeta &meta, const char *folder, size_t k, size_t batch) {
  TensorInfo info = input_info(meta, k);
  if (info.scalar_type() != ScalarType::Float) fail("an input is not float32", static_cast<int>(k));
  Tensor tensor = const_cast<EValue &>(method.get_input(k)).toTensor();
  if (!tensor.mutable_data_ptr()) {
    tensor.unsafeGetTensorImpl()->set_data(allocate(info.nbytes()));
    check(method.set_input(EValue(tensor), k), "cannot set an input");
  }
  FILE *file = fopen(path(folder, "input", k), "rb");
  if (!file || fseek(file, batch * info.nbytes(), SEEK_SET) || fread(tensor.mutable_data_ptr(), 1, info.nbytes(), file) != info.nbytes())
    fail("cannot read an input", static_cast<int>(k));
  fclose(file);
}

// Writes a tensor in the order of its axes, whatever its memory's is.
void write_contiguous(FILE *file, const Tensor &tensor) {
  const char *data = static_cast<const char *>(tensor.const_data_ptr());
  for (ssize_t n = 0; n < tensor.numel(); n++) {
    ssize_t rest = n, offset = 0;
    for (ssize_t axis = tensor.dim() - 1; axis >= 0; axis--) {
      offset += rest % tensor.size(axis) * tensor.strides()[axis];
      rest /= tensor.size(axis);
    }
    fwrite(data + offset * tensor.element_size(), tensor.element_size(), 1, file);
  }
}

void fetch(const Method &method, const char *folder, size_t k, size_t batch) {
  const EValue &value = method.get_output(k);
  if (!value.isTensor()) fail("an output is no tensor", static_cast<int>(k));
  Tensor tensor = value.toTensor();
  FILE *file = fopen(path(folder, "output", k), "r+b");
  if (!file || fseek(file, batch * tensor.nbytes(), SEEK_SET)) fail("cannot write an output", static_cast<int>(k));
  write_contiguous(file, tensor);
  if (fclose(file)) fail("cannot write an output", static_cast<int>(k));
}

void run(Method &method, const MethodMeta &meta, const char *folder, size_t batch) {
  for (size_t k = 0; k < meta.num_inputs(); k++) feed(method, meta, folder, k, batch);
  if (batch == 0) {
    mark(kWarm);
    check(method.execute(), "the program failed");
    mark(kBegin);
  }
  check(method.execute(), "the program failed");
  if (batch == 0) mark(kEnd);
  for (size_t k = 0; k < meta.num_outputs(); k++) fetch(method, folder, k, batch);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 4) fail("usage: executorch_runner PROGRAM FOLDER BATCHES", argc);
  runtime_init();
  size_t size;
  void *data = read_file(argv[1], &size);
  executorch::extension::BufferDataLoader loader(data, size);
  auto program = Program::load(&loader, Program::Verification::InternalConsistency);
  if (!program.ok()) fail("this is no program that ExecuTorch loads", static_cast<int>(program.error()));
  auto meta = program->method_meta("forward");
  if (!meta.ok()) fail("the program has no method `forward`", static_cast<int>(meta.error()));
  static Span<uint8_t> planned[kMaxBuffers];
  size_t n_planned = meta->num_memory_planned_buffers();
  if (n_planned > kMaxBuffers) fail("the program has too many buffers", static_cast<int>(n_planned));
  for (size_t i = 0; i < n_planned; i++) {
    size_t bytes = meta->memory_planned_buffer_size(i).get();
    planned[i] = Span<uint8_t>(static_cast<uint8_t *>(allocate(bytes)), bytes);
  }
  static Heap method_memory, temporary_memory;
  HierarchicalAllocator planned_memory(Span<Span<uint8_t>>(planned, n_planned));
  MemoryManager memory(&method_memory, &planned_memory, &temporary_memory);
  auto method = program->load_method("forward", &memory);
  if (!method.ok()) fail("ExecuTorch refuses the program", static_cast<int>(method.error()));
  print_meta(*meta);
  for (size_t batch = strtoul(argv[3], nullptr, 10); batch-- > 0;) run(*method, *meta, argv[2], batch);
  fflush(stdout);
  _exit(0);  // nothing is left to do, and tearing down takes a while under emulation
}
