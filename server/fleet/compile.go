package fleet

import (
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
)

// condition is a piece of SQL over devices d with its parameters, written as "?". Its text is made of
// constants of this package alone; whatever a person or an endpoint said is a parameter.
type condition struct {
	sql  strings.Builder
	args []any
}

func (c *condition) add(sql string, args ...any) {
	c.sql.WriteString(sql)
	c.args = append(c.args, args...)
}

// and adds a further condition.
func (c *condition) and(sql string, args ...any) {
	if c.sql.Len() > 0 {
		c.sql.WriteString(" and ")
	}
	c.add(sql, args...)
}

// clock is what presence is judged by inside a statement.
type clock struct{ listening Listening }

func (c clock) presence() (string, []any) {
	return presenceSQL("now()", "?::timestamptz", "?::timestamptz"), []any{c.listening.Since, c.listening.Before}
}

// compile turns a validated filter into SQL. Comparisons go to B-tree side tables by equality and
// ranges, whose operators are leakproof and so keep their index under row-level security; only
// "contains" reads all values of one field.
func (f Filter) compile(c *condition, k clock) { compileGroup(c, k, f.All, f.Any) }

// filter adds a validated filter. What it compares must be readable for the actor: an answer that depends
// on a value tells the value. Everything but custom fields is readable with the device.
func (c *condition) filter(who scope.Scope, f Filter, k clock) {
	c.and("")
	f.compile(c, k)
	if !usesCustom(f.All) && !usesCustom(f.Any) {
		return
	}
	if tenants, all := who.Permitted(permFields); !all {
		readable := make(ids, len(tenants))
		for i, id := range tenants {
			readable[i] = id
		}
		c.and("d.tenant_id = any(?)", readable)
	}
}

func usesCustom(terms []Term) bool {
	return slices.ContainsFunc(terms, func(t Term) bool {
		return fields[t.Field].kind == customField || usesCustom(t.All) || usesCustom(t.Any)
	})
}

func compileGroup(c *condition, k clock, all, any []Term) {
	if all == nil && len(any) > 1 && !slices.ContainsFunc(any, func(t Term) bool { return !t.isSet() }) {
		compileUnion(c, any)
		return
	}
	terms, joint := all, " and "
	if all == nil {
		terms, joint = any, " or "
	}
	c.add("(")
	for i, t := range terms {
		if i > 0 {
			c.add(joint)
		}
		if t.All != nil || t.Any != nil {
			compileGroup(c, k, t.All, t.Any)
		} else {
			compileTerm(c, k, t)
		}
	}
	c.add(")")
}

// isSet tells whether the term picks devices by rows of a side table.
func (t Term) isSet() bool {
	switch fields[t.Field].kind {
	case enumField, idField, presenceField:
		return false
	}
	return t.All == nil && t.Any == nil && !negative(t.Op)
}

// negative tells whether the operator asks for the absence of a row.
func negative(op string) bool { return op == "ne" || op == "lacks" || op == "unset" }

// compileUnion makes one set of alternatives, which the database can look up or hash; as conditions
// joined by "or" it would have to try each of them on each device.
func compileUnion(c *condition, terms []Term) {
	c.add("exists (select 1 from (")
	for i, t := range terms {
		if i > 0 {
			c.add(" union all ")
		}
		s := sideOf(fields[t.Field].kind, t)
		c.add("select x.tenant_id, x."+s.device+" as device_id from "+s.table+" where true"+s.where, s.args...)
		values, _ := t.values()
		s.compare(c, t.Op, values)
	}
	c.add(") u where u.tenant_id = d.tenant_id and u.device_id = d.id)")
}

func compileTerm(c *condition, k clock, t Term) {
	spec := fields[t.Field]
	values, _ := t.values()
	switch spec.kind {
	case enumField:
		compileColumn(c, spec.column, t.Op, texts(values))
	case idField:
		compileColumn(c, spec.column, t.Op, parseIDs(values))
	case presenceField:
		if t.Op == "ne" {
			c.add("not ")
		}
		c.present(k, values)
	default:
		compileSide(c, sideOf(spec.kind, t), t.Op, values)
	}
}

func compileColumn(c *condition, column, op string, values any) {
	if op == "ne" {
		c.add(column+" <> all(?)", values)
		return
	}
	c.add(column+" = any(?)", values)
}

// side is a table with a row x per value of a device.
type side struct {
	table  string // with its alias
	device string // the column with the device's id
	where  string // " and <it is this field>"
	args   []any
	value  string // the column compared
	fold   bool   // values are kept in lower case
}

func sideOf(kind fieldKind, t Term) side {
	switch kind {
	case tagField:
		return side{table: "device_tags x", device: "device_id", value: "x.tag"}
	case softwareField:
		return side{table: "device_software x", device: "device_id", value: "x.name_key", fold: true}
	case customField:
		return side{table: "custom_field_values x", device: "object_id", where: " and x.object_type = 'device' and x.key = ? and x.value is not null",
			args: []any{t.Key}, value: "x.value"}
	}
	s := side{table: "device_facts x", device: "device_id", where: " and x.field = ?", args: []any{t.Field}, value: "x.value_key", fold: true}
	if values, _ := t.values(); t.Op == "contains" && (t.Field == "name" || t.Field == "hostname") && searchable(values[0]) {
		// A part of a name is the beginning of one of its terms, which an index finds; then it is looked at.
		part := strings.ToLower(values[0])
		s.table += " join device_terms m on m.tenant_id = x.tenant_id and m.device_id = x.device_id"
		s.where += " and m.term >= ? and m.term < ?"
		s.args = append(s.args, part, prefixEnd(part))
	}
	return s
}

func compileSide(c *condition, s side, op string, values []string) {
	if negative(op) {
		c.add("not ")
	}
	c.add("exists (select 1 from "+s.table+" where x.tenant_id = d.tenant_id and x."+s.device+" = d.id"+s.where, s.args...)
	s.compare(c, op, values)
	c.add(")")
}

func (s side) compare(c *condition, op string, values []string) {
	if s.fold {
		for i := range values {
			values[i] = strings.ToLower(values[i])
		}
	}
	switch op {
	case "eq", "ne", "has", "lacks":
		c.add(" and "+s.value+" = ?", values[0])
	case "in":
		c.add(" and "+s.value+" = any(?)", texts(values))
	case "prefix":
		c.add(" and "+s.value+" >= ? and "+s.value+" < ?", values[0], prefixEnd(values[0]))
	case "contains":
		c.add(" and strpos("+s.value+", ?) > 0", values[0])
	}
}

// present narrows to devices whose presence is one of the values.
func (c *condition) present(k clock, values []string) {
	sql, args := k.presence()
	c.add("exists (select 1 from device_presence p where p.tenant_id = d.tenant_id and p.device_id = d.id and ("+sql+") = any(?))",
		append(args, texts(values))...)
}

// search narrows to devices that have a term with each of the beginnings.
func (c *condition) search(q string) {
	for _, word := range searchWords(q) {
		c.and(`exists (select 1 from device_terms x where x.tenant_id = d.tenant_id and x.device_id = d.id
			and x.term >= ? and x.term < ?)`, word, prefixEnd(word))
	}
}

func parseIDs(values []string) ids {
	list := make(ids, 0, len(values))
	for _, v := range values {
		if id, err := uuid.Parse(v); err == nil {
			list = append(list, id)
		}
	}
	return list
}

// on puts the condition on a query.
func (c *condition) on(query *gorm.DB) *gorm.DB {
	if c.sql.Len() == 0 {
		return query
	}
	return query.Where(c.sql.String(), c.args...)
}
