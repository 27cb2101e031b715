package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/cmd/berth/console"
	"github.com/berth-registry/berth/internal/app/quotaadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
)

type quotaCommand struct {
	List  quotaList  `cmd:"" help:"List all quotas and request rates with the values that hold."`
	Set   quotaSet   `cmd:"" help:"Give an account, or one repository of it, a value of its own."`
	Unset quotaUnset `cmd:"" help:"Give such a value up, so that the server's holds again."`
}

// ownerFlags say whose quotas are meant.
type ownerFlags struct {
	dataFlag
	jsonFlag
	Account    name.AccountID  `help:"Account (default: the server's)."`
	Repository name.Repository `help:"One repository of the account, in all its regions; for repository-storage-bytes."`
}

type quotaList struct{ ownerFlags }

// Run lists the quotas.
func (c quotaList) Run(ctx context.Context, out io.Writer) error {
	query := url.Values{"account": {string(c.Account)}, "repository": {string(c.Repository)}}
	var list quotaadmin.List
	if err := admin(ctx, c.Data, http.MethodGet, "/quotas?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, list)
	}
	t := console.NewTable(out, "NAME", "VALUE", "DEFAULT", "UNIT", "SET", "TITLE")
	for _, v := range list.Quotas {
		t.Row(v.Name, v.Text(v.Value), v.Text(v.Default), string(v.Unit), v.Set, v.Title)
	}
	return t.Flush()
}

type quotaSet struct {
	ownerFlags
	Name  string `arg:"" help:"Name of the quota, such as images-per-repository or rate:PutImage; see berth quota list."`
	Value string `arg:"" help:"Its value: a number, for bytes also such as 10GiB, or unlimited where that can be."`
}

// Run sets a quota.
func (c quotaSet) Run(ctx context.Context, out io.Writer) error {
	return c.change(ctx, out, quotaadmin.Request{Do: "set", Name: c.Name, Value: c.Value})
}

type quotaUnset struct {
	ownerFlags
	Name string `arg:"" help:"Name of the quota; see berth quota list."`
}

// Run gives a quota's own value up.
func (c quotaUnset) Run(ctx context.Context, out io.Writer) error {
	return c.change(ctx, out, quotaadmin.Request{Do: "unset", Name: c.Name})
}

// change sends the change and prints what holds after it.
func (c ownerFlags) change(ctx context.Context, out io.Writer, in quotaadmin.Request) error {
	in.Account, in.Repository = c.Account, c.Repository
	var list quotaadmin.List
	if err := admin(ctx, c.Data, http.MethodPost, "/quotas", in, &list); err != nil {
		return err
	}
	if c.JSON {
		return console.JSON(out, list)
	}
	of := "account " + string(list.Account)
	if list.Repository != "" {
		of = "repository " + string(list.Repository) + " of " + of
	}
	if len(list.Quotas) == 0 { // a rate that nobody else has
		list.Quotas = []quota.Value{{Name: in.Name, Unlimited: true}}
	}
	for _, v := range list.Quotas {
		note := ""
		if v.Set == "" {
			note = ", the server's value"
		}
		if _, err := fmt.Fprintf(out, "%s of %s: %s%s\n", v.Name, of, v.Text(v.Value), note); err != nil {
			return err
		}
	}
	return nil
}
