package audit

// Text is a record of an entry without its event id, which belongs at split.
func Text(e Entry, o Options) (text string, split int, err error) {
	var w writer
	split = w.write(&e, o)
	return string(w.b), split, w.err
}
