package main

import (
	"reflect"
	"strings"
	"testing"
)

const (
	head  = ",base,,this,,,\n,sec/op,CI,sec/op,CI,vs base,P\n"
	other = "\n,base,,this,,,\n,allocs/op,CI,allocs/op,CI,vs base,P\n"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       result
	}{
		{"faster, slower, the same", head + "domain/policy Decide-2,1.7e-06,1%,1.4e-06,1%,-17.20%,p=0.000 n=8\n" +
			"domain/policy Parse/size=100-2,1e-06,0%,1.3e-06,2%,+30.00%,p=0.001 n=8+7\ndomain/name Tag-2,1e-08,2%,1.5e-08,80%,~,p=0.446 n=8\ndomain/name ARN-2,1e-08,∞,1e-08,10%,~,p=0.446 n=8\n" +
			"api/oci/path Split-2,1e-08,0%,1e-08,0%,0.00%,n=8\n",
			result{compared: 5, unsteady: 2, changes: []change{
				{"domain/policy Decide-2", -17.2, "p=0.000 n=8"}, {"domain/policy Parse/size=100-2", 30, "p=0.001 n=8+7"}, {"api/oci/path Split-2", 0, "n=8"},
			}}},
		{"the row that sums up", head + "A-2,1e-06,1%,1e-06,1%,~,p=0.4 n=8\ngeomean,2.2e-06,,4.4e-06,,+100.00%,\n", result{compared: 1}},
		{"on one side only", head + "Gone-2,1e-06,1%\nNew-2,,,1e-06,1%\nBoth-2,1e-06,1%,2e-06,1%,+100.00%,p=0.000 n=8\n",
			result{compared: 1, single: 2, changes: []change{{"Both-2", 100, "p=0.000 n=8"}}}},
		{"one side alone", ",this,\n,sec/op,CI\nNew-2,1e-06,1%\ngeomean,1e-06,\n", result{single: 1}},
		{"other units", head + "A-2,1e-06,1%,1e-06,1%,~,p=0.4 n=8\n" + other + "A-2,1,0%,9,0%,+800.00%,p=0.000 n=8\n", result{compared: 1}},
		{"times after other units", other + "A-2,1,0%,9,0%,+800.00%,p=0.000 n=8\n\n" + head + "A-2,1e-06,1%,2e-06,1%,+100.00%,p=0.000 n=8\n",
			result{compared: 1, changes: []change{{"A-2", 100, "p=0.000 n=8"}}}},
		{"lines of the machine", "goos: linux\npkg: example.com/a\n" + head + "A-2,1e-06,1%,1e-06,1%,~,p=0.4 n=8\n\npkg: example.com/b\n" + head + "B-2,1e-06,1%\n",
			result{compared: 1, single: 1}},
		{"a name with a comma", head + "\"A/of=1,2-2\",1e-06,1%,1.2e-06,1%,+20.00%,p=0.000 n=8\n", result{compared: 1, changes: []change{{"A/of=1,2-2", 20, "p=0.000 n=8"}}}},
	} {
		got, err := read(strings.NewReader(c.text), 10)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for name, text := range map[string]string{
		"nothing":       "",
		"no benchmark":  head,
		"no times":      other + "A-2,1,0%,9,0%,+800.00%,p=0.000 n=8\n",
		"no percentage": head + "A-2,0,1%,1e-06,1%,?,p=0.000 n=8\n",
		"no table":      head + "A-2,\"1e-06\n",
	} {
		if got, err := read(strings.NewReader(text), 10); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestSlower(t *testing.T) {
	changes := func(percent ...float64) result {
		var r result
		for i, p := range percent {
			r.changes = append(r.changes, change{name: string(rune('A' + i)), percent: p})
		}
		return r
	}
	for _, c := range []struct {
		name string
		all  []result
		want []change
	}{
		{"nothing differs", []result{{compared: 3}}, nil},
		{"on one side only", []result{{single: 1}}, nil},
		{"faster", []result{changes(-90)}, nil},
		{"as much as may be", []result{changes(10)}, nil},
		{"more than may be", []result{changes(9, 10.01, -90, 250)}, []change{{name: "B", percent: 10.01}, {name: "D", percent: 250}}},
		{"not again", []result{changes(20, 20), {compared: 2}}, nil},
		{"less again", []result{changes(20), changes(5)}, nil},
		{"again only", []result{changes(-20, 5), changes(20, 20)}, nil},
		{"one of two again", []result{changes(20, 20), changes(5, 15)}, []change{{name: "B", percent: 15}}},
	} {
		if got := slower(c.all, 10); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
