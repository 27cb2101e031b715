package policy

import "github.com/berth-registry/berth/internal/domain/policy/jsontree"

// Resources returns every pattern of Resource and NotResource, as written and in
// order.
func (d *Document) Resources() []string {
	var all []string
	for _, st := range d.statementNodes() {
		for _, m := range st.Members {
			switch {
			case m.Key != "Resource" && m.Key != "NotResource":
			case m.Value.Kind == jsontree.Array:
				for _, item := range m.Value.Items {
					all = append(all, item.Text)
				}
			default:
				all = append(all, m.Value.Text)
			}
		}
	}
	return all
}

// statementNodes are the statements as they were written.
func (d *Document) statementNodes() []*jsontree.Node {
	for _, m := range d.tree.Members {
		if m.Key == "Statement" && m.Value.Kind == jsontree.Array {
			return m.Value.Items
		}
		if m.Key == "Statement" {
			return []*jsontree.Node{m.Value}
		}
	}
	return nil
}
