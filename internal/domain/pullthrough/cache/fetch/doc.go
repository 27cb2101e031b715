// Package fetch brings blobs of upstreams into the layer store, each once for all who
// want it, and lets them read along.
//
// The bytes of a blob go into a file without a name, which the upload into the layer
// store follows, and any number of clients, each at its own pace. The end of a blob is
// given to clients only when the layer store has verified its digest and made it
// durable. A fetch that fails leaves its layer upload to the next one, here or on
// another node, which goes on from where it stands; unless its bytes were wrong.
//
// It does not know which blobs are wanted (pullthrough/cache), how an upstream is spoken
// to (infra/upstream), nor how layers are kept (domain/layer).
package fetch
