// Walks the component lists of tokenizer.json and turns them into stages, or refuses what it does not know.
#include "frontend/TokenizerPipeline.h"
#include "frontend/Json.h"
#include "frontend/NormalizerTables.h"
#include "frontend/TokenizerImport.h"

namespace moray::frontend {
namespace {

using nlohmann::json;

const char *const kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Error unsupportedComponent(const std::string &where, const std::string &type, const std::string &expected) {
  return Error::describe(kTokenizerComponent, where, "component '" + type + "'", expected,
                         "this tokenizer is not supported; without tokenizer.json the model compiles for token ids");
}

Error unsupportedOption(const std::string &where, const std::string &found, const std::string &expected) {
  return Error::describe(kTokenizerOption, where, found, expected, "this tokenizer is not supported as it is");
}

std::string itemPath(const std::string &where, const char *list, size_t index) {
  return where + "." + list + "[" + std::to_string(index) + "]";
}

// Calls visit(component, type, where) for each component of a tree of Sequences, in order; nothing for null.
template <typename Visitor>
Status forEachComponent(const json *component, const std::string &where, const char *listName, Visitor visit) {
  if (!component || component->is_null())
    return Status();
  Expected<std::string> type = stringMember(*component, "type", where);
  if (!type)
    return type.error();
  if (*type != "Sequence")
    return visit(*component, *type, where);
  const json *list = findMember(*component, listName);
  if (!list || !list->is_array())
    return jsonTypeError(where + "." + listName, list, "an array");
  for (size_t i = 0; i < list->size(); ++i)
    if (Status status = forEachComponent(&(*list)[i], itemPath(where, listName, i), listName, visit); !status)
      return status;
  return Status();
}

class PreTokenizerCompiler {
public:
  PreTokenizerCompiler(CodeSetTable &sets, schema::TokenizerT &tables) : sets(sets), tables(tables) {}

  Status add(const json &component, const std::string &type, const std::string &where) {
    if (hasByteLevel)
      return unsupportedOption(where, "component '" + type + "' after ByteLevel", "ByteLevel as the last one");
    if (type == "Split")
      return addSplit(component, where);
    if (type == "Digits") {
      Expected<bool> individual = boolMember(component, "individual_digits", where, false);
      if (!individual)
        return individual.error();
      return addProgram(compileRegex(*individual ? "\\p{N}" : "\\p{N}+", where, sets));
    }
    if (type == "ByteLevel")
      return addByteLevel(component, where);
    return unsupportedComponent(where, type, "Split, Digits, ByteLevel or Sequence");
  }

  Status finish(const std::string &where) {
    if (!hasByteLevel)
      return unsupportedComponent(where, "(none)", "a pre-tokenizer that ends with ByteLevel");
    return Status();
  }

private:
  Status addProgram(Expected<schema::RegexProgramT> program) {
    if (!program)
      return program.error();
    tables.stages.emplace_back(schema::PreTokenizerKind::Split, uint32_t(tables.programs.size()));
    tables.programs.push_back(std::make_unique<schema::RegexProgramT>(std::move(*program)));
    return Status();
  }

  Status addSplit(const json &component, const std::string &where) {
    Expected<std::string> behavior = stringMember(component, "behavior", where);
    if (!behavior)
      return behavior.error();
    if (*behavior != "Isolated")
      return unsupportedOption(where + ".behavior", "'" + *behavior + "'", "'Isolated'");
    Expected<bool> invert = boolMember(component, "invert", where, false);
    if (!invert)
      return invert.error();
    if (*invert)
      return unsupportedOption(where + ".invert", "true", "false");
    const json *pattern = findMember(component, "pattern");
    std::string patternWhere = where + ".pattern";
    if (pattern && findMember(*pattern, "String")) {
      Expected<std::string> text = stringMember(*pattern, "String", patternWhere);
      return text ? addProgram(compileLiteral(*text, patternWhere, sets)) : Status(text.error());
    }
    if (!pattern || !findMember(*pattern, "Regex"))
      return jsonTypeError(patternWhere, pattern, "an object with Regex or String");
    Expected<std::string> regex = stringMember(*pattern, "Regex", patternWhere);
    return regex ? addProgram(compileRegex(*regex, patternWhere, sets)) : Status(regex.error());
  }

  Status addByteLevel(const json &component, const std::string &where) {
    hasByteLevel = true;
    Expected<bool> prefixSpace = boolMember(component, "add_prefix_space", where, true);
    if (!prefixSpace)
      return prefixSpace.error();
    Expected<bool> useRegex = boolMember(component, "use_regex", where, true);
    if (!useRegex)
      return useRegex.error();
    if (*prefixSpace)
      tables.stages.emplace_back(schema::PreTokenizerKind::PrefixSpace, 0);
    return *useRegex ? addProgram(compileRegex(kGpt2Pattern, where, sets)) : Status();
  }

  CodeSetTable &sets;
  schema::TokenizerT &tables;
  bool hasByteLevel = false;
};

// The ids that TemplateProcessing lists for one of its special tokens.
Expected<std::vector<uint32_t>> templateIds(const json &component, const json &item, const std::string &where,
                                            size_t vocabulary) {
  Expected<std::string> name = stringMember(item, "id", where);
  if (!name)
    return name.error();
  const json *table = findMember(component, "special_tokens");
  const json *entry = table ? findMember(*table, name->c_str()) : nullptr;
  const json *ids = entry ? findMember(*entry, "ids") : nullptr;
  if (!ids || !ids->is_array())
    return Error::describe(kTokenizerSpecial, where, "'" + *name + "', which special_tokens does not define",
                           "one of its keys", "correct tokenizer.json");
  std::vector<uint32_t> result;
  for (const json &id : *ids) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= vocabulary)
      return jsonTypeError(where + ".ids", &id, "ids below " + std::to_string(vocabulary));
    result.push_back(id.get<uint32_t>());
  }
  return result;
}

// Puts the items of `single` before and after Sequence A around what earlier processors put there.
Status addTemplate(const json &component, const std::string &where, schema::TokenizerT &tables) {
  const json *single = findMember(component, "single");
  if (!single || !single->is_array())
    return jsonTypeError(where + ".single", single, "an array");
  std::vector<uint32_t> prefix, suffix;
  bool behind = false;
  for (size_t i = 0; i < single->size(); ++i) {
    const json &item = (*single)[i];
    std::string itemWhere = itemPath(where, "single", i);
    if (const json *sequence = findMember(item, "Sequence")) {
      Expected<std::string> id = stringMember(*sequence, "id", itemWhere);
      if (!id)
        return id.error();
      if (behind || *id != "A")
        return unsupportedOption(itemWhere, "sequence '" + *id + "'", "sequence 'A' once");
      behind = true;
    } else if (const json *token = findMember(item, "SpecialToken")) {
      Expected<std::vector<uint32_t>> ids = templateIds(component, *token, itemWhere, tables.token_flags.size());
      if (!ids)
        return ids.error();
      std::vector<uint32_t> &side = behind ? suffix : prefix;
      side.insert(side.end(), ids->begin(), ids->end());
    } else
      return jsonTypeError(itemWhere, &item, "an object with Sequence or SpecialToken");
  }
  if (!behind)
    return unsupportedOption(where + ".single", "a template without sequence 'A'", "sequence 'A' once");
  tables.auto_prefix.insert(tables.auto_prefix.begin(), prefix.begin(), prefix.end());
  tables.auto_suffix.insert(tables.auto_suffix.end(), suffix.begin(), suffix.end());
  return Status();
}

} // namespace

Status compileNormalizer(const json &file, schema::TokenizerT &tables) {
  return forEachComponent(findMember(file, "normalizer"), "tokenizer.json: normalizer", "normalizers",
                          [&](const json &, const std::string &type, const std::string &where) -> Status {
                            if (type != "NFC")
                              return unsupportedComponent(where, type, "NFC or none");
                            if (tables.decompositions.empty())
                              addNfcTables(tables);
                            return Status();
                          });
}

Status checkDecoder(const json &file) {
  const std::string where = "tokenizer.json: decoder";
  int byteLevels = 0;
  Status status = forEachComponent(findMember(file, "decoder"), where, "decoders",
                                   [&](const json &, const std::string &type, const std::string &itemWhere) -> Status {
                                     if (type != "ByteLevel")
                                       return unsupportedComponent(itemWhere, type, "ByteLevel or a Sequence of it");
                                     ++byteLevels;
                                     return Status();
                                   });
  if (status && byteLevels != 1)
    return unsupportedComponent(where, std::to_string(byteLevels) + " ByteLevel decoders", "exactly one");
  return status;
}

Status compilePreTokenizer(const json &file, CodeSetTable &sets, schema::TokenizerT &tables) {
  const std::string where = "tokenizer.json: pre_tokenizer";
  PreTokenizerCompiler compiler(sets, tables);
  Status status = forEachComponent(findMember(file, "pre_tokenizer"), where, "pretokenizers",
                                   [&](const json &component, const std::string &type, const std::string &itemWhere) {
                                     return compiler.add(component, type, itemWhere);
                                   });
  return status ? compiler.finish(where) : status;
}

Status compilePostProcessor(const json &file, schema::TokenizerT &tables) {
  return forEachComponent(findMember(file, "post_processor"), "tokenizer.json: post_processor", "processors",
                          [&](const json &component, const std::string &type, const std::string &where) -> Status {
                            if (type == "ByteLevel") // only adjusts offsets
                              return Status();
                            if (type == "TemplateProcessing")
                              return addTemplate(component, where, tables);
                            return unsupportedComponent(where, type, "ByteLevel, TemplateProcessing or Sequence");
                          });
}

} // namespace moray::frontend
