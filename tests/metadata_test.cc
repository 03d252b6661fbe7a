#include <gtest/gtest.h>

#include <cmath>

#include "format/model_file.h"
#include "support/expect_error.h"

namespace kvi {
namespace {

Metadata one_of_each() {
  Metadata metadata;
  metadata.set("bool", true);
  metadata.set("int", int64_t{-7});
  metadata.set("large", UINT64_MAX);
  metadata.set("float", 2.5);
  metadata.set("string", std::string("text"));
  metadata.set("bools", std::vector<bool>{true, false});
  metadata.set("ints", std::vector<int64_t>{1, 2});
  metadata.set("floats", std::vector<double>{0.5});
  metadata.set("strings", std::vector<std::string>{"a", "b"});
  return metadata;
}

TEST(MetadataTest, EachKindIsFoundUnderItsOwnLookUp) {
  const Metadata metadata = one_of_each();
  EXPECT_EQ(metadata.find_bool("bool"), true);
  EXPECT_EQ(metadata.find_int("int"), -7);
  EXPECT_EQ(metadata.find_float("float"), 2.5);
  EXPECT_EQ(*metadata.find_string("string"), "text");
  EXPECT_EQ(metadata.find_bools("bools")->size(), 2u);
  EXPECT_EQ(metadata.find_ints("ints")->at(1), 2);
  EXPECT_EQ(metadata.find_floats("floats")->at(0), 0.5);
  EXPECT_EQ(metadata.find_strings("strings")->at(1), "b");
  EXPECT_TRUE(metadata.contains("large"));
  EXPECT_EQ(metadata.all().size(), 9u);
}

TEST(MetadataTest, AnIntegerServesWhereAFloatIsWanted) {
  const Metadata metadata = one_of_each();
  EXPECT_EQ(metadata.get_float("int"), -7.0);
  EXPECT_EQ(metadata.get_float("large"), 18446744073709551616.0);
}

TEST(MetadataTest, APositiveNumberIsAboveZeroAndFinite) {
  Metadata metadata;
  EXPECT_EQ(metadata.find_positive("x"), std::nullopt);
  metadata.set("x", 0.5);
  EXPECT_EQ(metadata.find_positive("x"), 0.5);
  for (double value : {0.0, -1.0, double{NAN}, double{INFINITY}}) {
    metadata.set("x", value);
    EXPECT_ERROR(metadata.find_positive("x"), CORRUPT, "expected a positive finite number");
  }
}

TEST(MetadataTest, MissingKeysAreFoundAsNothing) {
  const Metadata metadata = one_of_each();
  EXPECT_FALSE(metadata.contains("other"));
  EXPECT_FALSE(metadata.find_bool("other"));
  EXPECT_FALSE(metadata.find_int("other"));
  EXPECT_FALSE(metadata.find_float("other"));
  EXPECT_EQ(metadata.find_string("other"), nullptr);
  EXPECT_EQ(metadata.find_ints("other"), nullptr);
}

TEST(MetadataTest, GettingAMissingKeyNamesIt) {
  const Metadata metadata = one_of_each();
  EXPECT_ERROR(metadata.get_int("llama.block_count"), CORRUPT, "'llama.block_count' is missing");
  EXPECT_ERROR(metadata.get_float("other"), CORRUPT, "'other' is missing");
  EXPECT_ERROR(metadata.get_string("other"), CORRUPT, "'other' is missing");
}

TEST(MetadataTest, AnotherKindNamesKeyAndBothKinds) {
  const Metadata metadata = one_of_each();
  EXPECT_ERROR(metadata.find_int("string"), CORRUPT,
               "'string' must be an integer, but the model file holds a string");
  EXPECT_ERROR(metadata.get_int("float"), CORRUPT, "holds a float");
  EXPECT_ERROR(metadata.find_float("bool"), CORRUPT, "must be a number");
  EXPECT_ERROR(metadata.find_bool("int"), CORRUPT, "must be a bool");
  EXPECT_ERROR(metadata.find_string("ints"), CORRUPT, "holds an array of integers");
  EXPECT_ERROR(metadata.find_strings("bools"), CORRUPT, "holds an array of bools");
  EXPECT_ERROR(metadata.find_ints("floats"), CORRUPT, "holds an array of floats");
  EXPECT_ERROR(metadata.find_floats("strings"), CORRUPT, "holds an array of strings");
  EXPECT_ERROR(metadata.find_int("large"), CORRUPT, "18446744073709551615");
}

TEST(MetadataTest, SettingReplaces) {
  Metadata metadata = one_of_each();
  metadata.set("int", std::string("now text"));
  EXPECT_EQ(*metadata.find_string("int"), "now text");
  EXPECT_EQ(metadata.all().size(), 9u);
}

}  // namespace
}  // namespace kvi
