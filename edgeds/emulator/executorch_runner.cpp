// Runs an ExecuTorch program in the emulator, without torch and without Python:  executorch_runner PROGRAM FOLDER SAMPLES
//
// FOLDER/input_K.raw holds SAMPLES rows of the K-th input of `forward`, float32, contiguous; FOLDER/output_K.raw is written alike, in
// the output's own type. A row is one along the first axis, which is the batch: a last batch that is not full repeats the last sample.
// Prints a JSON object with the types and shapes of both before it runs. The first batch runs last, twice: once to warm up, and once
// as the marked region (see plugin.c).
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

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::Tensor;

namespace {

constexpr size_t kAlignment = 64, kMaxBuffers = 64, kMaxTensors = 256, kMaxPath = 4096;
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

// The files of all inputs and outputs, and how many samples they are for.
struct Files {
  FILE *inputs[kMaxTensors], *outputs[kMaxTensors];
  size_t samples;
};

FILE *open_tensor(const char *folder, const char *kind, size_t k, const char *mode) {
  char path[kMaxPath];
  snprintf(path, sizeof path, "%s/%s_%zu.raw", folder, kind, k);
  FILE *file = fopen(path, mode);
  if (!file) fail("cannot open a file of a tensor", static_cast<int>(k));
  return file;
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

size_t row_count(const TensorInfo &info) { return info.sizes().empty() ? 1 : info.sizes()[0]; }

void open_files(Files *files, const MethodMeta &meta, const char *folder) {
  if (meta.num_inputs() > kMaxTensors || meta.num_outputs() > kMaxTensors) fail("the program has too many inputs or outputs", 0);
  for (size_t k = 0; k < meta.num_inputs(); k++) {
    files->inputs[k] = open_tensor(folder, "input", k, "rb");
    TensorInfo info = input_info(meta, k);
    fseek(files->inputs[k], 0, SEEK_END);
    if (static_cast<size_t>(ftell(files->inputs[k])) != files->samples * (info.nbytes() / row_count(info)))
      fail("an input has another size than the program takes", static_cast<int>(k));
  }
  for (size_t k = 0; k < meta.num_outputs(); k++) files->outputs[k] = open_tensor(folder, "output", k, "wb");
}

// The k-th input, which is given memory where the program has planned none.
char *input_memory(Method &method, const TensorInfo &info, size_t k) {
  if (info.scalar_type() != ScalarType::Float) fail("an input is not float32", static_cast<int>(k));
  Tensor tensor = const_cast<EValue &>(method.get_input(k)).toTensor();
  if (!tensor.mutable_data_ptr()) {
    tensor.unsafeGetTensorImpl()->set_data(allocate(info.nbytes()));
    check(method.set_input(EValue(tensor), k), "cannot set an input");
  }
  return static_cast<char *>(tensor.mutable_data_ptr());
}

void feed(Method &method, const MethodMeta &meta, const Files &files, size_t k, size_t batch) {
  TensorInfo info = input_info(meta, k);
  size_t rows = row_count(info), row_bytes = info.nbytes() / rows;
  char *memory = input_memory(method, info, k);
  for (size_t row = 0; row < rows; row++) {
    size_t sample = std::min(batch * rows + row, files.samples - 1);
    if (fseek(files.inputs[k], sample * row_bytes, SEEK_SET) || fread(memory + row * row_bytes, row_bytes, 1, files.inputs[k]) != 1)
      fail("cannot read an input", static_cast<int>(k));
  }
}

// Writes the first `count` elements in the order of the tensor's axes, whatever its memory's is.
void write_elements(FILE *file, const Tensor &tensor, size_t count) {
  const char *data = static_cast<const char *>(tensor.const_data_ptr());
  for (size_t n = 0; n < count; n++) {
    size_t rest = n, offset = 0;
    for (ssize_t axis = tensor.dim() - 1; axis >= 0; axis--) {
      offset += rest % tensor.size(axis) * tensor.strides()[axis];
      rest /= tensor.size(axis);
    }
    fwrite(data + offset * tensor.element_size(), tensor.element_size(), 1, file);
  }
}

void fetch(const Method &method, const Files &files, size_t k, size_t batch) {
  const EValue &value = method.get_output(k);
  if (!value.isTensor()) fail("an output is no tensor", static_cast<int>(k));
  Tensor tensor = value.toTensor();
  size_t rows = tensor.dim() ? tensor.size(0) : 1, row_elements = tensor.numel() / rows;
  size_t wanted = std::min(rows, files.samples - batch * rows);
  fseek(files.outputs[k], batch * tensor.nbytes(), SEEK_SET);
  write_elements(files.outputs[k], tensor, wanted * row_elements);
  if (fflush(files.outputs[k])) fail("cannot write an output", static_cast<int>(k));
}

void run(Method &method, const MethodMeta &meta, const Files &files, size_t batch) {
  for (size_t k = 0; k < meta.num_inputs(); k++) feed(method, meta, files, k, batch);
  if (batch == 0) {
    mark(kWarm);
    check(method.execute(), "the program failed");
    mark(kBegin);
  }
  check(method.execute(), "the program failed");
  if (batch == 0) mark(kEnd);
  for (size_t k = 0; k < meta.num_outputs(); k++) fetch(method, files, k, batch);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 4) fail("usage: executorch_runner PROGRAM FOLDER SAMPLES", argc);
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
  fflush(stdout);
  static Files files;
  files.samples = strtoul(argv[3], nullptr, 10);
  open_files(&files, *meta, argv[2]);
  size_t rows = row_count(input_info(*meta, 0));
  for (size_t batch = (files.samples + rows - 1) / rows; batch-- > 0;) run(*method, *meta, files, batch);
  _exit(0);  // nothing is left to do, and tearing down takes a while under emulation
}
