#include <node_api.h>

NAPI_MODULE_INIT() {
  napi_value n;
  napi_create_int32(env, 42, &n);
  napi_set_named_property(env, exports, "answer", n);
  return exports;
}
