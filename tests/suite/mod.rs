//! The behaviour of the library, whether a program uses the crate or the C ABI: every property is written once, for any
//! [`Library`](library::Library), and `suite!` runs all of them for one.

pub mod accumulators;
pub mod bytes;
pub mod full_objective;
pub mod inputs;
pub mod layer;
pub mod library;
pub mod observers;
pub mod options;
pub mod products;
pub mod ragged;
pub mod refusals;
pub mod runs;

/// Declares one test for each property of each module.
macro_rules! properties {
    ($library:ty; $($module:ident { $($(#[$attribute:meta])* $property:ident)* })*) => {
        $(
            mod $module {
                $(
                    #[test]
                    $(#[$attribute])*
                    fn $property() {
                        crate::suite::$module::$property::<$library>();
                    }
                )*
            }
        )*
    };
}

/// Declares the tests of a library.
macro_rules! suite {
    ($library:ty) => {
        properties! {
            $library;
            accumulators {
                sums_are_means_of_products
                sums_are_those_of_the_crate
                what_is_refused_adds_nothing
                no_tokens_have_no_mean
                they_come_back_as_they_went
            }
            bytes {
                they_come_back_as_they_went
                #[cfg_attr(miri, ignore = "many iterations")]
                every_kind_of_factorisation_comes_back
                #[cfg_attr(miri, ignore = "many iterations")]
                equal_factorisations_are_equal_bytes
                bytes_that_hold_none
            }
            full_objective {
                a_run_is_that_of_the_crate
                a_ridge_is_reported
                hessians_that_it_cannot_use
                output_errors_are_those_of_the_definition
                output_errors_of_another_shape
            }
            inputs {
                every_type_and_stride_gives_the_same_bits
                only_the_diagonal_is_read
                no_calibration_is_a_diagonal_of_ones
                dead_inputs_are_counted
            }
            observers {
                they_see_every_iteration
                they_cancel
            }
            options {
                values_out_of_range_are_refused_and_change_nothing
                ends_of_ranges_are_taken
                what_fits_only_together_is_checked_when_a_run_begins
                #[cfg_attr(miri, ignore = "many iterations")]
                every_option_does_what_that_of_the_crate_does
                #[cfg_attr(miri, ignore = "many iterations")]
                a_run_ends_when_it_should
            }
            products {
                they_are_those_of_the_crate
                a_vector_alone_has_the_bits_of_its_batch
                wrong_lengths
                sizes_are_those_of_the_crate
            }
            ragged {
                #[cfg_attr(miri, ignore = "many iterations")]
                rows
                #[cfg_attr(miri, ignore = "many iterations")]
                columns
                #[cfg_attr(miri, ignore = "many iterations")]
                both
            }
            refusals {
                the_first_value_that_is_not_finite
                hessians_that_cannot_be
                shapes
            }
            runs {
                factors_are_those_of_the_crate
                the_product_is_that_of_the_factors
                the_core_keeps_n_of_m
                a_vector_is_multiplied
                vectors_of_another_length
                #[cfg_attr(miri, ignore = "many iterations")]
                any_number_of_threads_gives_the_same_bits
                #[cfg_attr(miri, ignore = "many iterations")]
                another_seed_draws_another_result
                #[cfg_attr(miri, ignore = "many iterations")]
                a_greedy_exact_run_draws_nothing
            }
        }
    };
}
