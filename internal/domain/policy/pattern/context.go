package pattern

// Context gives the values of condition keys.
type Context interface {
	// Lookup returns the values of a key, which is in lower case
	// ("aws:sourceip"), and whether it has any. The values are only read.
	Lookup(key string) (values []string, ok bool)
}
