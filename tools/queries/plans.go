package main

import "context"

const ownName = "queries"

type report struct{}

func measure(context.Context, settings) (report, error) { return report{}, nil }
func (report) page() []byte                               { return nil }
func (report) verdict() error                             { return nil }
