// Carries the precompiled header of the compiler libraries; holds no code.
