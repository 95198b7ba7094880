//! The command line as its users meet it: the real binary, in a data directory of its own.

#[cfg(test)]
mod cli {
    mod agents;
    mod audit;
    mod billing;
    mod decide;
    mod evidence;
    mod house;
    mod keys;
    mod messages;
    mod meter;
    mod oversight;
    mod quota;
    mod refusals;
    mod sandbox;
    mod serve;
    mod typed;
}
