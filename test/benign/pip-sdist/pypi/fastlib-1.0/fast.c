struct obj;
struct obj *PyInit__fastlib(void) { return 0; }
