"""The lit test format of the tree: shell tests that know which folders need the compiler (a module, so that workers can load it)."""

import lit.formats
import lit.Test


class MorayTest(lit.formats.ShTest):
    """A shell test that is unsupported, not missing, where the build lacks the compiler."""

    def __init__(self, compiler, compiler_folders):
        super().__init__(execute_external=False)
        self.compiler = compiler
        self.compiler_folders = compiler_folders

    def execute(self, test, lit_config):
        if not self.compiler and test.path_in_suite[0] in self.compiler_folders:
            return lit.Test.Result(lit.Test.UNSUPPORTED, "this build has no compiler")
        return super().execute(test, lit_config)
