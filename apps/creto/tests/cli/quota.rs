//! Quotas, as an operator types them.

use super::house::House;

#[test]
fn quotas_are_set_listed_shown_and_removed() {
    let house = House::new();
    let _server = house.serve();
    assert!(house.run(&["quota", "list"]).ok().contains("no quotas yet"));
    let set = ["quota", "set", "calls", "--limit", "2", "--window", "daily", "--agent", "each", "--alert", "50,100"];
    assert!(house.run(&set).ok().contains("`calls`: 2 of actions, daily, for each agent; at the limit: block"));
    house.run(&["quota", "set", "bad", "--limit", "1", "--window", "sliding"]).refused("metering.bad_definition");
    assert!(house.run(&["quota", "show", "calls"]).ok().contains("nothing was counted yet"));
    let mine = ["quota", "set", "mine", "--limit", "1", "--window", "total", "--root", "each", "--metric", "spend", "--shadow"];
    house.run(&mine).ok();
    let listed = house.run(&["quota", "list"]).ok();
    assert!(listed.lines().any(|line| line.contains("mine") && line.contains("each root") && line.contains("shadow")), "{listed}");
    house.run(&["quota", "remove", "mine"]).ok();
    house.run(&["quota", "show", "mine"]).refused("metering.unknown_definition");
}
