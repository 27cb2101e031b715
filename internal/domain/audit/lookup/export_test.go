package lookup

// Keys are what stands in audit_lookup for a row, and its row of audit_kind.
func (r Row) Keys() (keys [5]int64) {
	k := r.keys()
	return [5]int64{k.kind.key, k.name, k.user, k.access, k.resource}
}
