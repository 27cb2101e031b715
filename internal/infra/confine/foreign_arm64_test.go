//go:build linux

package confine_test

const hasForeignCalls = false

func callForeign() {}
