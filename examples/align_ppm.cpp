// Landmarks of one face in a picture, from C++ and without Python.
//
//   cmake -S . -B build/runtime -DFRNET_CUDA=0 -DFRNET_BUILD_EXAMPLES=ON && cmake --build build/runtime --target
//   align_ppm build/runtime/align_ppm frnet/weights/data/mobile_frnet.safetensors
//   frnet/morphable/data/builtin_face.safetensors
//       photo.ppm X0 Y0 X1 Y1
//
// The picture is a binary PPM (P6, 8 bits); the numbers are the square around the face, in pixels. Every landmark is
// printed as "x y z". In a project of your own: add_subdirectory(frnet) and link frnet::runtime.

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "frnet/runtime.h"

namespace {

struct Ppm {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> bgr;
};

// The next number of a PPM's head, behind spaces and comments.
int64_t number(std::istream& file) {
  while (file >> std::ws && file.peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  int64_t value = 0;
  if (!(file >> value) || value < 1 || value > 32768) throw std::runtime_error("a size that is none");
  return value;
}

Ppm read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  if (!(file >> kind) || kind != "P6") throw std::runtime_error(path + " is no binary PPM");
  Ppm picture;
  picture.width = number(file);
  picture.height = number(file);
  if (number(file) != 255) throw std::runtime_error(path + " has not 8 bits a channel");
  file.get();
  picture.bgr.resize(static_cast<size_t>(3 * picture.width * picture.height));
  if (!file.read(reinterpret_cast<char*>(picture.bgr.data()), static_cast<std::streamsize>(picture.bgr.size()))) {
    throw std::runtime_error(path + " is cut off");
  }
  for (size_t i = 0; i < picture.bgr.size(); i += 3) std::swap(picture.bgr[i], picture.bgr[i + 2]);
  return picture;
}

}  // namespace

int main(int count, char** words) {
  if (count != 8) {
    std::fprintf(stderr, "usage: %s WEIGHTS FACE_MODEL PICTURE.ppm X0 Y0 X1 Y1\n", words[0]);
    return 2;
  }
  try {
    const auto session = frnet::runtime::Session::open(words[1]);
    const auto model = frnet::runtime::FaceModel::open(words[2]);
    const Ppm ppm = read_ppm(words[3]);
    std::array<double, 4> square;
    for (size_t i = 0; i < 4; ++i) square[i] = std::atof(words[4 + i]);
    const frnet::runtime::Picture picture{ppm.bgr.data(), ppm.height, ppm.width, 3 * ppm.width};
    const auto found = session.align(picture, {square}, model);
    for (size_t i = 0; i < found.landmarks.size(); i += 3) {
      std::printf("%.2f %.2f %.2f\n", found.landmarks[i], found.landmarks[i + 1], found.landmarks[i + 2]);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
