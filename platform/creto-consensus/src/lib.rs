//! Hybrid logical timestamps, fenced leadership and ordered sequences on the engines that have consensus.
