// Package name holds the typed names of the registry world: accounts, regions,
// registries, repositories, tags, digests, ARNs and host names. It parses and
// formats them and knows nothing else: no clock, no database, no network.
//
// It does not own what the names stand for; see registry, repository, layer
// and image.
package name
